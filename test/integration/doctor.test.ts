import { readdirSync } from "node:fs";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, expect, it } from "@effect/vitest";
import { Effect, FileSystem, Layer, Option } from "effect";

import { Environment } from "../../src/settings/Environment.ts";
import { FileLock } from "../../src/workspace/FileLock.ts";
import { leaksOf } from "../support/Leaks.ts";
import { realEnvironment } from "../support/RealWorker.ts";
import { typed } from "../support/Typed.ts";
import { workerProcess } from "../support/WorkerProcess.ts";

const FUNCTION = { function_name: "f", function_code: "def f(): return 1" };

const DAY = 24 * 60 * 60 * 1000;

const program = (args: ReadonlyArray<string>, variables: Readonly<Record<string, string>> = {}) =>
  typed(args, { ...realEnvironment(), ...variables });

const temporary = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  return yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-volume-" });
});

/** What a person sees, with what differs between machines replaced. */
const steady = (text: string, volume: string): string =>
  text
    .replaceAll(volume, "<volume>")
    .replace(/^worker-tetra .*/, "worker-tetra <version> on <host>")
    .replace(/Node {9}.*/, "Node         <version>")
    .replace(/Python {7}.*/, "Python       <version>")
    .replace(/uv {11}.*/, "uv           <version>")
    .replace(/GPU {10}.*/, "GPU          <GPU>")
    .replace(/. Disk {9}.*?; (.*)(\n {15}.*)?/, "Disk         <space>; $1")
    .replaceAll(/^ +\d+\.\d [MG]B {2}/gm, "  <size>  ")
    .replaceAll(/\d+\.\d+\.\d+-[0-9a-f]{8}-1/g, "<environment>")
    .replaceAll(/Python \d+\.\d+\.\d+/g, "Python <version>")
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z, version [\d.]+/g, "<time>, version <version>")
    .replaceAll(/in \d+\.\d\d s/g, "in <seconds>")
    .replace(/Settings[^]*/, "Settings …");

describe("doctor", () => {
  it.live("shows what there is and what the last start of a worker did", () =>
    Effect.gen(function* () {
      const volume = yield* temporary;
      const variables = {
        RUNPOD_VOLUME_PATH: volume,
        RUNPOD_ENDPOINT_ID: "mine",
        RUNPOD_API_KEY: "a-key-that-nobody-may-see",
        WORKER_CONCURRENCY: "2",
      };
      const before = yield* program(["doctor"], variables);
      assert.strictEqual(before.code, 0);
      assert.include(before.stdout, "none yet: the first start makes one");
      // Looking leaves nothing behind but the folder.
      assert.deepStrictEqual(readdirSync(join(volume, "runtimes", "mine")), []);

      yield* program(["start", "--test_input", JSON.stringify({ input: FUNCTION })], variables);
      const { code, stdout } = yield* program(["doctor"], variables);
      assert.strictEqual(code, 0);
      expect(steady(stdout, volume)).toMatchSnapshot("doctor");
      assert.match(stdout, /WORKER_CONCURRENCY +2 \(environment\)/);
      assert.match(stdout, /WORKER_JOB_TIMEOUT +off \(default\)/);
      assert.match(stdout, /RUNPOD_API_KEY +set \(environment\)/);
      assert.notInclude(stdout, variables.RUNPOD_API_KEY);

      const json = JSON.parse((yield* program(["doctor", "--json"], variables)).stdout);
      assert.isTrue(json.healthy);
      assert.deepInclude(json.lastStart, { origin: "created", shared: true, trouble: null });
      assert.deepInclude(json.settings, {
        name: "WORKER_CONCURRENCY",
        value: "2",
        origin: "environment",
      });
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );

  it.live("says what is missing and what to do, and fails", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* program(["doctor"], {
        WORKER_PYTHON: "/nonexistent/python",
        WORKER_REQUIRE_GPU: "true",
        WORKER_CONCURRENCY: "many",
        RUNPOD_ENDPOINT_ID: "mine",
        PATH: "/usr/bin:/bin",
      });
      assert.strictEqual(code, 1);
      assert.match(stdout, /✗ Python +No usable Python: .*set WORKER_PYTHON to one/);
      assert.match(stdout, /✗ GPU +WORKER_REQUIRE_GPU is set.*\n +Start the container with a GPU/);
      assert.match(stdout, /✗ WORKER_CONCURRENCY .*expected a whole number/);
    }).pipe(Effect.scoped),
  );

  it.live("shows no secrets: neither in settings nor in what it found", () =>
    Effect.gen(function* () {
      const key = "rpa_Zq81mXw3Vt60bLk9Ys";
      const variables = {
        RUNPOD_API_KEY: key,
        WORKER_SERVE_KEY: "serve-4f8a7d9c3b2e",
        WORKER_PYTHON: `/nonexistent/${key}`,
        WORKER_CONCURRENCY: "https://me:pw1@host/?token=pw2",
        RUNPOD_WEBHOOK_GET_JOB: "https://api.example/v2/endpoint/job-take/$ID?token=pw3",
        WORKER_INSTALL_TIMEOUT: key.slice(0, 12),
      };
      for (const args of [["doctor"], ["doctor", "--json"]]) {
        const { stdout, stderr } = yield* program(args, variables);
        assert.isEmpty(leaksOf(key, stdout + stderr));
        for (const secret of ["pw1", "pw2", "pw3", "serve-4f8", "api.example"]) {
          assert.notInclude(stdout + stderr, secret);
        }
        assert.include(stdout, "https://***@host/?token=***");
      }
    }),
  );

  it.live("goes on where a setting says where not to look", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* program(["doctor"], { RUNPOD_ENDPOINT_ID: "../other" });
      assert.strictEqual(code, 1);
      assert.match(stdout, /✗ RUNPOD_ENDPOINT_ID .*expected letters/);
    }).pipe(Effect.scoped),
  );
});

describe("prune", () => {
  /** A volume with what can go, and what must stay. */
  const planted = Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem;
    const volume = yield* temporary;
    const runtimes = join(volume, "runtimes");
    const old = new Date(Date.now() - 40 * DAY);
    const plant = Effect.fnUntraced(function* (
      endpoint: string,
      names: ReadonlyArray<string>,
      isOld: boolean,
    ) {
      const venvs = join(runtimes, endpoint, ".venvs");
      for (const name of names) {
        yield* files.makeDirectory(join(venvs, name), { recursive: true });
        yield* files.writeFileString(join(venvs, name, "file"), "x");
        if (name.startsWith(".")) continue;
        yield* files.writeFileString(join(venvs, `${name}.lock`), "");
      }
      yield* files.symlink(join(".venvs", names[0] ?? ""), join(runtimes, endpoint, ".venv"));
      yield* files.writeFileString(join(runtimes, endpoint, ".initialization.lock"), "");
      yield* files.writeFileString(join(runtimes, endpoint, ".last-start.json"), "{}");
      if (!isOld) return;
      for (const name of [".venvs", ".initialization.lock", ".last-start.json"]) {
        yield* files.utimes(join(runtimes, endpoint, name), old, old);
      }
    });
    const age = (path: string) => files.utimes(join(runtimes, path), old, old);
    yield* plant("current", ["3.12.1-aaaaaaaa-2", "3.12.1-aaaaaaaa-1", ".building-abc"], false);
    yield* age("current/.venvs/3.12.1-aaaaaaaa-1");
    yield* age("current/.venvs/3.12.1-aaaaaaaa-1.lock");
    yield* age("current/.venvs/3.12.1-aaaaaaaa-2");
    yield* age("current/.venvs/.building-abc");
    yield* plant("left", ["3.12.1-bbbbbbbb-1"], true);
    yield* plant("working", ["3.12.1-cccccccc-1"], true);
    return { volume, runtimes };
  });

  it.live("removes what nobody used for long, and nothing that a worker holds", () =>
    Effect.gen(function* () {
      const { volume, runtimes } = yield* planted;
      const variables = { RUNPOD_VOLUME_PATH: volume };
      const locks = yield* FileLock;
      const held = yield* locks.tryLock(
        join(runtimes, "working", ".venvs", "3.12.1-cccccccc-1.lock"),
        "shared",
      );
      assert.isTrue(Option.isSome(held));

      const shown = yield* program(["prune", "--dry-run"], variables);
      assert.strictEqual(shown.code, 0);
      expect(steady(shown.stdout, volume)).toMatchSnapshot("dry run");
      const asked = yield* program(["prune"], variables);
      assert.strictEqual(asked.code, 1);
      assert.include(asked.stderr, "add --yes");
      assert.lengthOf(readdirSync(runtimes), 3);

      const done = yield* program(["prune", "--yes"], variables);
      assert.strictEqual(done.code, 0);
      expect(steady(done.stdout, volume)).toMatchSnapshot("done");
      assert.sameMembers(readdirSync(runtimes), ["current", "working"]);
      assert.deepStrictEqual(
        readdirSync(join(runtimes, "current", ".venvs")).filter((name) => !name.endsWith(".lock")),
        ["3.12.1-aaaaaaaa-2"],
      );
    }).pipe(
      Effect.scoped,
      Effect.provide(
        Layer.merge(FileLock.layer.pipe(Layer.provide(Environment.layer)), NodeServices.layer),
      ),
    ),
  );

  it.live("has nothing to do where there is no volume", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* program(["prune", "--yes"]);
      assert.strictEqual(code, 0);
      assert.include(stdout, "There is no network volume");
    }).pipe(Effect.scoped),
  );
});

describe("what nobody foresaw", () => {
  const broken = {
    NODE_OPTIONS:
      "--import data:text/javascript,process.availableMemory=()=>{throw%20Error(%27broken%20machine%27)}",
    RUNPOD_WEBHOOK_GET_JOB: "http://127.0.0.1:9/job-take/x",
  };

  it.live("is said in a sentence", () =>
    Effect.gen(function* () {
      const run = yield* workerProcess(broken);
      assert.strictEqual((yield* run.ended).code, 1);
      assert.include(run.stderr(), "should not: broken machine\nSet LOG_LEVEL=debug");
      assert.notMatch(run.stderr(), /\n\s+at /);
    }).pipe(Effect.scoped),
  );

  it.live("comes with its stack for those who ask", () =>
    Effect.gen(function* () {
      const run = yield* workerProcess({ ...broken, LOG_LEVEL: "debug" });
      yield* run.ended;
      assert.match(run.stderr(), /broken machine\n\s+at /);
    }).pipe(Effect.scoped),
  );
});
