import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { ask } from "../../support/http/HttpRequest.ts";
import { runCommandLine } from "../../support/processes/CommandLineRun.ts";
import { realEnvironment } from "../../support/processes/RealWorker.ts";
import { serveInProcess } from "../../support/processes/Serve.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

const KEY = "a-key-of-this-endpoint-that-nobody-may-see";

/** Calls the endpoint that serve names in a job's environment as generated code of Flash does. */
const CALLER = `
import json, os, urllib.request

def f():
    def post(key):
        request = urllib.request.Request(
            os.environ["RUNPOD_ENDPOINT_BASE_URL"] + "/sibling/runsync",
            json.dumps({"input": {
                "function_name": "g", "function_code": "def g(): return 'from the sibling'",
                "serialization_format": "json",
            }}).encode(),
            {"Content-Type": "application/json", "Authorization": "Bearer " + key},
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["output"]["json_result"]
        except urllib.error.HTTPError as error:
            return error.code
    return {
        "environment": dict(os.environ),
        "sibling": post(os.environ["RUNPOD_API_KEY"]),
        "stranger": post("local"),
    }
`;

interface Seen {
  readonly environment: Readonly<Record<string, string>>;
  readonly sibling: unknown;
  readonly stranger: unknown;
}

/** What a job sees of an endpoint, and can do there. */
const seenByJob = Effect.fnUntraced(function* (port: number) {
  const answer = yield* ask(port, "/runsync", {
    body: { input: functionInput(CALLER) },
    headers: { authorization: `Bearer ${KEY}` },
  });
  assert.deepInclude(answer.json, { status: "COMPLETED" }, answer.text);
  const { output } = answer.json as { readonly output: { readonly json_result: Seen } };
  return output.json_result;
});

describe("serve with a key", () => {
  it.live(
    "gives jobs a token instead of the key, and jobs can call the same endpoint with it",
    () =>
      Effect.gen(function* () {
        const keys = {
          WORKER_SERVE_KEY: KEY,
          HEADERS_OF_SOMETHING: `Authorization: Bearer ${KEY}`,
        };
        for (const variables of [keys, { ...keys, RUNPOD_API_KEY: KEY }]) {
          const { port } = yield* serveInProcess([], variables);
          const { environment, sibling, stranger } = yield* seenByJob(port);
          for (const [name, value] of Object.entries(environment)) {
            assert.notInclude(value, KEY, name);
          }
          assert.notProperty(environment, "WORKER_SERVE_KEY");
          assert.strictEqual(sibling, "from the sibling");
          assert.strictEqual(stranger, 401);
        }
      }).pipe(Effect.scoped),
  );

  it.live("replaces the user's API key, which this endpoint would reject, by its token", () =>
    Effect.gen(function* () {
      const { port } = yield* serveInProcess([], {
        WORKER_SERVE_KEY: KEY,
        RUNPOD_API_KEY: "rpa_the_key_of_another_service",
      });
      const { sibling } = yield* seenByJob(port);
      assert.strictEqual(sibling, "from the sibling");
    }).pipe(Effect.scoped),
  );

  it.live("keeps RUNPOD_ENDPOINT_BASE_URL and the key of another endpoint", () =>
    Effect.gen(function* () {
      const elsewhere = yield* serveInProcess([], {
        WORKER_SERVE_KEY: "the-key-of-another-endpoint",
      });
      const { port } = yield* serveInProcess([], {
        WORKER_SERVE_KEY: KEY,
        RUNPOD_API_KEY: "the-key-of-another-endpoint",
        RUNPOD_ENDPOINT_BASE_URL: `${elsewhere.url}/v2`,
      });
      const { sibling, environment } = yield* seenByJob(port);
      assert.strictEqual(sibling, "from the sibling");
      assert.strictEqual(environment["RUNPOD_ENDPOINT_BASE_URL"], `${elsewhere.url}/v2`);
    }).pipe(Effect.scoped),
  );

  it.live("rejects requests whose path or query only looks public, and logs no key", () =>
    Effect.gen(function* () {
      const { port, stderr, logs } = yield* serveInProcess([], { WORKER_SERVE_KEY: KEY });
      const body = { input: functionInput("def f(): return 'I ran'") };
      for (const path of ["/runsync?x=/ping", "/execute?/docs", "//run?/ping", "/v2/x/run;/ping"]) {
        assert.strictEqual((yield* ask(port, path, { body })).status, 401, path);
      }
      const headers = { authorization: `Bearer ${KEY}` };
      assert.strictEqual((yield* ask(port, "/runsync", { body, headers })).status, 200);
      const health = yield* ask(port, "/health", { headers });
      assert.deepNestedInclude(health.json, {
        "jobs.completed": 1,
        "jobs.inQueue": 0,
        "jobs.inProgress": 0,
      });
      assert.notInclude([stderr(), ...logs.notices()].join("\n"), KEY);
    }).pipe(Effect.scoped),
  );
});

describe("serve without a key", () => {
  const HOSTS = ["0.0.0.0", "::", "", "gpu-box", "localhost.example", "127.evil.example", "127.1"];

  it.live("refuses to listen on other addresses than loopback, with advice and exit code 2", () =>
    Effect.gen(function* () {
      const attempts = HOSTS.flatMap((host) => [
        [["serve", "--port", "0", "--host", host], undefined] as const,
        [["start", "--rp_serve_api", "--rp_api_port", "0", "--rp_api_host", host], ""] as const,
        [["serve", "--port", "0", "--host", host], "  "] as const,
      ]);
      for (const [args, key] of attempts) {
        const { code, stderr } = yield* runCommandLine(args, {
          ...realEnvironment(),
          WORKER_SERVE_KEY: key,
        });
        assert.strictEqual(code, 2, args.join(" "));
        assert.include(stderr, "Set WORKER_SERVE_KEY");
        assert.include(stderr, "--insecure");
        assert.notInclude(stderr, "Serving");
      }
    }).pipe(Effect.scoped),
  );

  it.live("listens on every loopback address, and on others with --insecure", () =>
    Effect.gen(function* () {
      for (const args of [
        ["--host", "localhost"],
        ["--host", "127.0.0.2"],
        ["--host", "0.0.0.0", "--insecure"],
      ]) {
        const { port } = yield* serveInProcess(args);
        assert.isAbove(port, 0);
      }
    }).pipe(Effect.scoped),
  );
});
