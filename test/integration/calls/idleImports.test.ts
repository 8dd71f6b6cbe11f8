import { cpSync, existsSync, globSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Fiber } from "effect";
import { inject } from "vitest";

import { RunnerPool } from "../../../src/runner/RunnerPool.ts";
import { decodeProfile } from "../../../src/workspace/profile/Profile.ts";
import { START_PROFILE } from "../../../src/workspace/profile/StartProfile.ts";
import { eventually } from "../../support/effects/Waiting.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { call, realWorker } from "../../support/processes/RealWorker.ts";

/** A job that imports the package `slow`, and returns its value. */
const JOB = "def f():\n    import slow\n    return slow.value";

/** An endpoint with a package `slow` in its virtual environment, which notes its imports in a file. */
const makeEndpoint = Effect.gen(function* () {
  const folder = yield* temporaryFolder;
  // Copying the virtual environment is faster than building one.
  cpSync(join(inject("workspace"), ".venvs"), join(folder, ".venvs"), {
    recursive: true,
    verbatimSymlinks: true,
  });
  const marker = join(folder, "imports");
  const container = (settings: Readonly<Record<string, string>> = {}) =>
    realWorker({ WORKER_WORKSPACE_PATH: folder, ...settings });
  return {
    folder,
    container,
    /** The processes that imported the package, in their order. */
    imports: () => (existsSync(marker) ? readFileSync(marker, "utf8").trimEnd().split("\n") : []),
    profile: () => {
      const file = join(folder, START_PROFILE);
      return decodeProfile(existsSync(file) ? readFileSync(file, "utf8") : "");
    },
    /** A container with the package, whose first job imports it. */
    begin: Effect.fnUntraced(function* (source = "") {
      yield* call("def f(): return 1", "f");
      const [site = ""] = globSync(`${folder}/.venv/lib/python*/site-packages`);
      const note = `import os\nvalue = 'installed'\nprint('printed')\nwith open(${JSON.stringify(marker)}, 'a') as file: file.write(f'{os.getpid()}\\n')\n`;
      writeFileSync(join(site, "slow.py"), note + source);
      const { json_result, error } = yield* call(JOB, "f");
      assert.strictEqual(json_result ?? error, "installed");
      yield* eventually(() => existsSync(join(folder, START_PROFILE)));
    }),
  };
});

const warm = Effect.flatMap(RunnerPool, (runner) => runner.warm);

describe("a worker that waits for its first job", () => {
  it.live("imports what jobs of earlier workers imported, but not what it prints", () =>
    Effect.gen(function* () {
      const { container, begin, imports, profile } = yield* makeEndpoint;
      yield* Effect.provide(begin(), container());
      assert.deepStrictEqual(
        profile().modules.map(({ name }) => name),
        ["slow"],
      );
      yield* Effect.gen(function* () {
        yield* warm;
        yield* eventually(() => (profile().modules[0]?.seconds ?? 0) > 0);
        assert.lengthOf(imports(), 2);
        const { json_result, stdout } = yield* call(JOB, "f");
        assert.deepStrictEqual([json_result, stdout], ["installed", ""]);
        assert.lengthOf(imports(), 2);
      }).pipe(Effect.provide(container()));
    }).pipe(Effect.scoped),
  );

  it.live("imports it in each of its processes", () =>
    Effect.gen(function* () {
      const { container, begin, imports } = yield* makeEndpoint;
      yield* Effect.provide(begin(), container());
      yield* Effect.gen(function* () {
        yield* warm;
        yield* eventually(() => imports().length === 4);
        assert.strictEqual(new Set(imports()).size, 4);
      }).pipe(Effect.provide(container({ WORKER_CONCURRENCY: "3" })));
    }).pipe(Effect.scoped),
  );

  it.live("imports nothing if that is turned off", () =>
    Effect.gen(function* () {
      const { container, begin, imports } = yield* makeEndpoint;
      yield* Effect.provide(begin(), container());
      yield* Effect.gen(function* () {
        yield* warm;
        yield* call("def f(): return 1", "f");
        assert.lengthOf(imports(), 1);
      }).pipe(Effect.provide(container({ WORKER_IDLE_IMPORTS: "off" })));
    }).pipe(Effect.scoped),
  );

  it.live("gives a job its own module and its own source of the same name", () =>
    Effect.gen(function* () {
      const { container, begin, imports } = yield* makeEndpoint;
      yield* Effect.provide(begin(), container());
      yield* Effect.gen(function* () {
        yield* warm;
        yield* eventually(() => imports().length === 2);
        const own = yield* call(JOB, "f", [], { modules: { "slow.py": "value = 'own'" } });
        assert.strictEqual(own.json_result ?? own.error, "own");
        const source = yield* call("value = 'source'\ndef slow(): return value", "slow");
        assert.strictEqual(source.json_result ?? source.error, "source");
        const { json_result } = yield* call(JOB, "f");
        assert.strictEqual(json_result, "installed");
        assert.lengthOf(imports(), 2);
      }).pipe(Effect.provide(container()));
    }).pipe(Effect.scoped),
  );

  it.live("lets a job that arrives during an import wait for it", () =>
    Effect.gen(function* () {
      const { folder, container, begin, imports } = yield* makeEndpoint;
      const gate = join(folder, "gate");
      writeFileSync(gate, "");
      const wait = `import time\nwhile not os.path.exists(${JSON.stringify(gate)}): time.sleep(0.01)`;
      yield* Effect.provide(begin(wait), container());
      yield* Effect.gen(function* () {
        rmSync(gate);
        yield* warm;
        yield* eventually(() => imports().length === 2);
        const job = yield* Effect.forkChild(call(JOB, "f"));
        writeFileSync(gate, "");
        const { json_result, error } = yield* Fiber.join(job);
        assert.strictEqual(json_result ?? error, "installed");
        assert.lengthOf(imports(), 2);
      }).pipe(Effect.provide(container()));
    }).pipe(Effect.scoped),
  );

  it.live("replaces a process that such an import ends, and does not try it again", () =>
    Effect.gen(function* () {
      const { container, begin, imports, profile } = yield* makeEndpoint;
      const crash =
        "import sys\nif sys.modules['__main__'].__dict__.get('f') is None:\n    import ctypes; ctypes.string_at(0)";
      yield* Effect.provide(begin(crash), container());
      yield* Effect.gen(function* () {
        yield* warm;
        yield* eventually(() => profile().modules[0]?.failure !== undefined);
        assert.strictEqual(profile().modules[0]?.failure, "it ended the process with SIGSEGV");
        const { json_result, error } = yield* call(JOB, "f");
        assert.strictEqual(json_result ?? error, "installed");
        assert.lengthOf(imports(), 3);
      }).pipe(Effect.provide(container()));
      yield* Effect.gen(function* () {
        yield* warm;
        yield* call("def f(): return 1", "f");
        assert.lengthOf(imports(), 3);
      }).pipe(Effect.provide(container()));
    }).pipe(Effect.scoped),
  );
});
