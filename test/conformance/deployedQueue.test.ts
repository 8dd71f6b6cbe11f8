import { copyFileSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { artifactOf, type Client } from "../support/clients/Clients.ts";
import { queueWorker } from "../support/clients/DeployedApp.ts";
import { temporaryFolder } from "../support/files/TemporaryFolder.ts";
import { makeWheels } from "../support/python/Wheels.ts";
import { IS_FULL } from "../support/values/FullLength.ts";

type Answer = Readonly<Record<string, unknown>>;

const CLIENTS: ReadonlyArray<Client> = ["flash", "sdk"];

/** The fields of an exception as runpod-python reports it, which SDK 2.0 expects. */
const reported = ({ error }: Answer): Readonly<Record<string, string>> => JSON.parse(String(error));

describe.each(CLIENTS)("a function that %s has deployed", (client) => {
  it.live("is called with the fields of the input, and its value is the output", () =>
    Effect.gen(function* () {
      const { call } = yield* queueWorker(client, "hello");
      assert.deepStrictEqual(yield* call({ name: "you" }), { output: { hello: "you" } });
      for (const input of [{ __empty: true }, {}, null, undefined]) {
        assert.deepStrictEqual(yield* call(input), { output: { hello: "world" } });
      }
    }).pipe(Effect.scoped),
  );

  it.live(
    "uses its local package and the dependencies in the artifact, and its output is logged",
    () =>
      Effect.gen(function* () {
        const { call, worker } = yield* queueWorker(client, "shout");
        const answer = yield* call({ text: "hey", number: 1_200_000 });
        assert.deepStrictEqual(answer, { output: { text: "HEY!", number: "1.2 million" } });
        assert.include(worker.stdout(), "shouting hey\n");
      }).pipe(Effect.scoped),
  );

  it.live("may be asynchronous", () =>
    Effect.gen(function* () {
      const { call } = yield* queueWorker(client, "later");
      assert.deepStrictEqual(yield* call({ text: "soon" }), { output: "SOON" });
    }).pipe(Effect.scoped),
  );

  it.live("fails the job with the exception and the user's lines", () =>
    Effect.gen(function* () {
      const { call, logged } = yield* queueWorker(client, "broken");
      const answer = yield* call({ key: "no key" });
      const traceback =
        client === "flash"
          ? String((answer["output"] as Answer)["traceback"])
          : (reported(answer)["error_traceback"] ?? "");
      assert.include(traceback, "return {}[key]");
      if (client === "flash") {
        assert.strictEqual(answer["error"], "'no key'");
        assert.deepInclude(answer["output"], { success: false });
        assert.notProperty(answer["output"], "error");
      } else {
        assert.include(reported(answer)["error_type"], "KeyError");
        assert.strictEqual(reported(answer)["error_message"], "'no key'");
      }
      assert.isAbove(logged("looking for no key"), 0);
    }).pipe(Effect.scoped),
  );

  it.live("fails the job and asks for a new worker by the keys of its value", () =>
    Effect.gen(function* () {
      const { call } = yield* queueWorker(client, "echo");
      const failing = yield* call({ value: { error: "no", more: 1 } });
      assert.deepInclude(failing, { error: "no", output: { more: 1 } });
      const refreshing = yield* call({ value: { refresh_worker: true, more: 2 } });
      assert.deepInclude(refreshing, { stopPod: true, output: { more: 2 } });
    }).pipe(Effect.scoped),
  );

  it.live("fails the job if its value is not JSON", () =>
    Effect.gen(function* () {
      const { call } = yield* queueWorker(client, "opaque");
      assert.match(String((yield* call({}))["error"]), /object/);
    }).pipe(Effect.scoped),
  );

  it.live("runs as many jobs at the same time as it declares", () =>
    Effect.gen(function* () {
      const limit = client === "sdk" ? { RUNPOD_MAX_CONCURRENCY: "3" } : undefined;
      const { call } = yield* queueWorker(client, "meeting", limit);
      const answers = yield* Effect.all(
        Array.from({ length: 3 }, () => call({ expected: 3 })),
        { concurrency: "unbounded" },
      );
      for (const { output, error } of answers) assert.isNumber(output, String(error));
    }).pipe(Effect.scoped),
  );

  it.live("streams its values if it is a generator", () =>
    Effect.gen(function* () {
      const { call, service } = yield* queueWorker(client, "counting");
      assert.deepStrictEqual((yield* call({ to: 3 }))["output"], [0, 1, 2]);
      assert.deepStrictEqual(service.chunks("job-1"), [0, 1, 2]);
    }).pipe(Effect.scoped),
  );
});

describe("a function that Flash has deployed", () => {
  it.live("rejects an input that is not an object", () =>
    Effect.gen(function* () {
      const { call } = yield* queueWorker("flash", "hello");
      const answer = yield* call([1]);
      assert.deepInclude(answer, { error: "Malformed input: expected dict, got list" });
    }).pipe(Effect.scoped),
  );

  it.live("gets one process for each job if it is synchronous and allows several", () =>
    Effect.gen(function* () {
      const { call } = yield* queueWorker("flash", "parallel");
      const answers = yield* Effect.all([call({ text: "a" }), call({ text: "b" })], {
        concurrency: "unbounded",
      });
      const texts = answers.map(({ output }) => (output as Answer)["text"]);
      assert.deepStrictEqual(texts, ["a", "b"]);
    }).pipe(Effect.scoped),
  );
});

describe("a class that Flash has deployed", () => {
  it.live("is constructed once, and keeps its state", () =>
    Effect.gen(function* () {
      const { call, logged } = yield* queueWorker("flash", "tally");
      assert.deepStrictEqual(yield* call({ number: 5 }), { output: 5 });
      assert.deepStrictEqual(yield* call({ method: "whatever", number: 2 }), { output: 7 });
      assert.deepStrictEqual(yield* call({}), { output: 8 });
      assert.strictEqual(logged("constructing Tally"), 1);
    }).pipe(Effect.scoped),
  );

  it.live("needs the name of the method if it has several", () =>
    Effect.gen(function* () {
      const { call } = yield* queueWorker("flash", "shelf");
      assert.deepStrictEqual(yield* call({ method: "put", key: "a", value: 1 }), { output: ["a"] });
      assert.deepStrictEqual(yield* call({ method: "get", key: "a" }), { output: 1 });
      const { error: missing } = yield* call({ key: "a" });
      assert.match(String(missing), /^class Shelf has multiple methods: .*include a "method" key/);
      const { error: unknown } = yield* call({ method: "__init__" });
      assert.match(String(unknown), /^unknown method '__init__' on Shelf\. available: /);
    }).pipe(Effect.scoped),
  );
});

describe("a function that SDK 2.0 has deployed", () => {
  it.live("runs its init hook once, before the first job", () =>
    Effect.gen(function* () {
      const { call, logged } = yield* queueWorker("sdk", "prepared");
      assert.deepStrictEqual(yield* call({ text: "first" }), { output: "loaded first" });
      assert.deepStrictEqual(yield* call({ text: "second" }), { output: "loaded second" });
      assert.strictEqual(logged("loading the model"), 1);
    }).pipe(Effect.scoped),
  );
});

/** A failed start as the client expects it: its phase, and the text with the reason. */
const startFailure = (client: Client, answer: Answer) => {
  if (client === "flash") return String(answer["error"]);
  const { error_type, error_message = "" } = reported(answer);
  assert.strictEqual(error_type, "BootstrapError");
  return error_message;
};

describe("a deployed app that can't start", () => {
  it.live.each<readonly [Client, string, string, RegExp]>([
    ["flash", "a failing constructor", "unbuildable", /no model here/],
    ["flash", "a missing package", "incomplete", /tetra_missing/],
    ["flash", "an unknown resource", "unknown", /unknown/],
    ["sdk", "a failing init hook", "unprepared", /'construct'.*no model here/s],
    ["sdk", "an unknown resource", "unknown", /unknown/],
  ])("answers every job (%s: %s)", ([client, , resource, reason]) =>
    Effect.gen(function* () {
      const { call, worker } = yield* queueWorker(client, resource, { UV_OFFLINE: "1" });
      for (const input of [{}, { other: 1 }]) {
        assert.match(startFailure(client, yield* call(input)), reason);
      }
      yield* worker.signal("SIGTERM");
      assert.deepStrictEqual(yield* worker.ended, { code: 0, signal: null });
    }).pipe(Effect.scoped),
  );
});

// The same with hand-written apps is in test/integration/apps/faults.test.ts.
describe.skipIf(!IS_FULL)("the archive of a deployed app", () => {
  it.live.each(CLIENTS)("names the phase locate if the artifact of %s is truncated", (client) =>
    Effect.gen(function* () {
      const path = join(yield* temporaryFolder, "artifact.tar.gz");
      writeFileSync(path, readFileSync(yield* artifactOf(client)).subarray(0, 50_000));
      const variables = { FLASH_BUILD_ARTIFACT_PATH: path, RUNPOD_ARTIFACT_WAIT: "1" };
      const { call } = yield* queueWorker(client, "hello", variables);
      const failure = startFailure(client, yield* call({}));
      assert.include(failure, path);
      if (client === "sdk") assert.include(failure, "'locate'");
    }).pipe(Effect.scoped),
  );

  it.live("names both Python versions if Flash built it for another one", () =>
    Effect.gen(function* () {
      const variables = { FLASH_BUILD_ARTIFACT_PATH: yield* artifactOf("flash", "3.12") };
      const { call } = yield* queueWorker("flash", "hello", variables);
      assert.match(startFailure("flash", yield* call({})), /3\.12/);
    }).pipe(Effect.scoped),
  );

  it.live("installs a missing package and logs it", () =>
    Effect.gen(function* () {
      const wheels = makeWheels(join(yield* temporaryFolder, "wheels"), {
        "tetra_missing-1.0": { files: { "tetra_missing.py": "NAME = 'found'\n" } },
      });
      const variables = { UV_FIND_LINKS: wheels, UV_OFFLINE: "1" };
      const { call, worker } = yield* queueWorker("flash", "incomplete", variables);
      assert.deepStrictEqual(yield* call({}), { output: "found" });
      assert.include(worker.stderr(), "tetra_missing");
    }).pipe(Effect.scoped),
  );

  it.live("starts when the artifact appears later", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const path = join(folder, "artifact.tar.gz");
      const variables = { FLASH_BUILD_ARTIFACT_PATH: path };
      const { call, service, worker } = yield* queueWorker("flash", "hello", variables);
      yield* service.seen("take", 1);
      copyFileSync(yield* artifactOf("flash"), `${path}.part`);
      renameSync(`${path}.part`, path);
      assert.deepStrictEqual(yield* call({}), { output: { hello: "world" } });
      assert.notInclude(worker.stderr(), "Internal error");
    }).pipe(Effect.scoped),
  );
});
