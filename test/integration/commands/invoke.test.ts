import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { requestFile } from "../../support/files/RequestFile.ts";
import { ask } from "../../support/http/HttpRequest.ts";
import { loopbackServer, respondJson } from "../../support/http/LoopbackServer.ts";
import { runCommandLine } from "../../support/processes/CommandLineRun.ts";
import { realEnvironment } from "../../support/processes/RealWorker.ts";
import { serveProcess } from "../../support/processes/Serve.ts";
import { workerProcess } from "../../support/processes/WorkerProcess.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

const KEY = "a-key-that-nobody-may-see";

const FUNCTION = functionInput("def f(n):\n    print('got', n)\n    return [n] * 3", [7]);

const GENERATOR = {
  ...FUNCTION,
  function_code:
    "import time\ndef f(n):\n    for i in range(3):\n        print('step', i)\n        time.sleep(0.7)\n        yield i * n",
};

const FAILING = { ...FUNCTION, function_code: "def f(n):\n    raise ValueError('not today')" };

const LONG = { ...FUNCTION, function_code: "import time\ndef f(n):\n    time.sleep(100)" };

const invoke = (args: ReadonlyArray<string>, variables: Readonly<Record<string, string>> = {}) =>
  runCommandLine(["invoke", ...args], { ...realEnvironment(), RUNPOD_API_KEY: KEY, ...variables });

/** What a person sees, with what differs from time to time replaced. */
const steady = (text: string, port: number): string =>
  text
    .replaceAll(/\/\S+\/request\.json/g, "request.json")
    .replaceAll(/[0-9a-f-]{36}-l1/g, "<id>")
    .replaceAll(`:${port}`, ":<port>")
    .replaceAll(/\d+\.\d\d s/g, "<time>");

/** An endpoint that answers everything alike. */
const answering = (status: number) =>
  Effect.map(
    loopbackServer((_, response) => respondJson(response, {}, status)),
    ({ url }) => url,
  );

/** One of each kind of text that would control a terminal. */
const CONTROLS = "\u001b]0;title\u0007\u001b[2J\r\u009b31m\u202e\u2028\u007f";

/** An endpoint whose job runs for one poll and then ends as given, with such characters in all texts. */
const controlling = (end: unknown) =>
  Effect.suspend(() => {
    let looks = 0;
    return loopbackServer((request, response) => {
      const path = request.url ?? "";
      if (path.includes("/status/")) looks += 1;
      const running = {
        id: "a-job",
        status: looks < 2 ? "IN_PROGRESS" : `x${CONTROLS}`,
        output: { stage: `stage\n${CONTROLS}`, output: `line ${looks} ${CONTROLS}\n` },
      };
      const stream = [{ output: CONTROLS }, { output: { success: true, json_result: CONTROLS } }];
      const answer = path.includes("/stream/")
        ? { status: "COMPLETED", stream }
        : looks < 3
          ? running
          : end;
      respondJson(response, answer);
    });
  }).pipe(Effect.map(({ url }) => url));

// oxlint-disable-next-line no-control-regex
const CONTROLLING = /[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]/;

const isYielded = (line: string): boolean => line.startsWith("  yielded: ");

describe("an error of invoke", () => {
  it.live("has the credentials of the URL masked", () =>
    Effect.gen(function* () {
      const run = yield* workerProcess({ RUNPOD_API_KEY: "local" }, [
        "invoke",
        "x",
        "fixtures/hello_world.json",
        "--url",
        "http://me:pw-of-mine@127.0.0.1:9/v2",
      ]);
      assert.strictEqual((yield* run.ended).code, 2);
      assert.notInclude(run.stdout() + run.stderr(), "pw-of-mine");
      assert.isNotEmpty(run.stderr());
    }).pipe(Effect.scoped),
  );
});

describe("invoke", () => {
  it.live("sends each request and shows its progress, its output and its result", () =>
    Effect.gen(function* () {
      const { port, url } = yield* serveProcess();
      const file = yield* requestFile([{ input: FUNCTION }, GENERATOR, { input: FAILING }]);
      const run = yield* invoke(["any", file, "/nonexistent.json", "--url", url]);
      assert.strictEqual(run.code, 2);
      const lines = steady(run.stdout, port)
        .replaceAll(/File "[^"]+"/g, 'File "f.py"')
        .split("\n");
      // They come from another place than the output, and may come before or after it.
      assert.deepStrictEqual(lines.filter(isYielded), [
        "  yielded: 0",
        "  yielded: 7",
        "  yielded: 14",
      ]);
      assert.deepStrictEqual(
        lines.filter((line) => !isYielded(line)),
        [
          "▶ request.json (1 of 3)",
          "got 7",
          "✓ succeeded in <time>, after <time> in the queue",
          "  result: [7,7,7]",
          "▶ request.json (2 of 3)",
          "step 0",
          "step 1",
          "step 2",
          "✓ succeeded in <time>, after <time> in the queue",
          "  result: [0,7,14]",
          "▶ request.json (3 of 3)",
          "✗ job <id> failed in <time>, after <time> in the queue: ValueError: not today",
          "  Traceback (most recent call last):",
          '    File "f.py", line 2, in f',
          "      raise ValueError('not today')",
          "  ValueError: not today",
          "",
        ],
      );
      assert.include(steady(run.stderr, port), "job <id> at http://127.0.0.1:<port>/v2/any");
      assert.include(run.stderr, "/nonexistent.json: file not found");
      assert.notInclude(run.stdout + run.stderr, KEY);
    }).pipe(Effect.scoped),
  );

  it.live("with --json prints one response a line", () =>
    Effect.gen(function* () {
      const { url } = yield* serveProcess();
      const file = yield* requestFile([{ input: FUNCTION }, { input: FAILING }]);
      const run = yield* invoke(["any", "--json", "--url", `${url}/v2/`, file]);
      assert.strictEqual(run.code, 1);
      const [good, bad, end] = run.stdout.split("\n");
      assert.deepInclude(JSON.parse(good ?? ""), { success: true, json_result: [7, 7, 7] });
      const { success, error } = JSON.parse(bad ?? "");
      assert.isFalse(success);
      assert.match(error, /^ValueError: not today\n/);
      assert.strictEqual(end, "");
    }).pipe(Effect.scoped),
  );

  it.live.each([
    [
      "succeeded",
      {
        id: "a-job",
        status: "COMPLETED",
        output: {
          success: true,
          json_result: { [CONTROLS]: CONTROLS },
          stdout: `line ${CONTROLS}\n`,
          instance_id: `i\n${CONTROLS}`,
          instance_info: { class_name: "C", created_at: "", method_calls: 1, last_used: "" },
        },
      },
    ],
    ["failed", { id: "a-job", status: "FAILED", error: `first ${CONTROLS}\nsecond ${CONTROLS}` }],
    ["ran on another kind of worker", { id: "a-job", status: "COMPLETED", output: CONTROLS }],
    [
      "ended with an error of unknown shape",
      { id: "a-job", status: "CANCELLED", error: { [CONTROLS]: 1 } },
    ],
  ] as const)("escapes control characters in all texts of a job that %s", ([, end]) =>
    Effect.gen(function* () {
      for (const flags of [[], ["--json"]]) {
        const url = yield* controlling(end);
        const run = yield* invoke(["any", "--url", url, yield* requestFile(FUNCTION), ...flags]);
        assert.notMatch(run.stdout + run.stderr, CONTROLLING);
        assert.isAbove(run.stdout.length, 0);
        if (flags.length > 0) assert.doesNotThrow(() => void JSON.parse(run.stdout));
      }
    }).pipe(Effect.scoped),
  );

  it.live("reports a failed job on one line with its id and the reason", () =>
    Effect.gen(function* () {
      const { url } = yield* serveProcess();
      const file = yield* requestFile(FAILING);
      const forPerson = yield* invoke(["any", "--url", url, file]);
      assert.match(forPerson.stdout, /^✗ job \S+-l1 failed in .*: ValueError: not today$/m);
      const forProgram = yield* invoke(["any", "--json", "--url", url, file]);
      assert.match(forProgram.stderr, /^ {2}job \S+-l1 failed: ValueError: not today$/m);
    }).pipe(Effect.scoped),
  );

  it.live("shows every line of a job that prints 5,000 lines at once", () =>
    Effect.gen(function* () {
      const { url } = yield* serveProcess();
      const file = yield* requestFile({
        ...FUNCTION,
        function_code: "def f(n):\n    for i in range(5000):\n        print('line', i)",
      });
      const { stdout } = yield* invoke(["any", "--url", url, file]);
      const lines = new Set(stdout.split("\n"));
      for (let at = 0; at < 5000; at += 1) assert.isTrue(lines.has(`line ${at}`), `line ${at}`);
    }).pipe(Effect.scoped),
  );

  it.live("cancels the job when it is interrupted", () =>
    Effect.gen(function* () {
      const { port, url } = yield* serveProcess();
      const run = yield* workerProcess({}, [
        "invoke",
        "any",
        "--url",
        url,
        yield* requestFile(LONG),
      ]);
      yield* run.wrote("running …");
      yield* run.signal("SIGINT");
      assert.strictEqual((yield* run.ended).code, 130);
      assert.match(run.stderr(), /job \S+ was cancelled/);
      const { text } = yield* ask(port, "/health");
      assert.include(text, '"inProgress":0');
    }).pipe(Effect.scoped),
  );

  describe("explains the failure of an endpoint", () => {
    it.live("that rejects the API key, without showing the key", () =>
      Effect.gen(function* () {
        const { url } = yield* serveProcess([], { WORKER_SERVE_KEY: "another-key-than-that" });
        const run = yield* invoke(["any", "--url", url, yield* requestFile(FUNCTION)]);
        assert.strictEqual(run.code, 1);
        assert.include(run.stderr, "rejects the API key. Set RUNPOD_API_KEY");
        assert.notInclude(run.stdout + run.stderr, KEY);
      }).pipe(Effect.scoped),
    );

    it.live.each([
      [404, "the endpoint does not exist"],
      [413, "too large"],
      [500, "responded with status 500"],
    ] as const)("that responds with status %i", ([status, says]) =>
      Effect.gen(function* () {
        const url = yield* answering(status);
        const run = yield* invoke(["any", "--url", url, yield* requestFile(FUNCTION)]);
        assert.strictEqual(run.code, 1);
        assert.include(run.stderr, says);
        assert.notInclude(run.stdout + run.stderr, KEY);
      }).pipe(Effect.scoped),
    );

    it.live("that does not listen", () =>
      Effect.gen(function* () {
        const spare = yield* serveProcess();
        yield* spare.signal("SIGKILL");
        yield* spare.ended;
        const run = yield* invoke(["any", "--url", spare.url, yield* requestFile(FUNCTION)]);
        assert.strictEqual(run.code, 1);
        assert.include(run.stderr, "ECONNREFUSED");
        assert.include(run.stderr, "worker-tetra serve");
      }).pipe(Effect.scoped),
    );

    it.live("at RunPod without an API key", () =>
      Effect.gen(function* () {
        const run = yield* invoke(["any", yield* requestFile(FUNCTION)], { RUNPOD_API_KEY: "" });
        assert.strictEqual(run.code, 1);
        assert.include(run.stderr, "There is no API key: set RUNPOD_API_KEY");
      }).pipe(Effect.scoped),
    );
  });
});
