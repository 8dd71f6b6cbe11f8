import { chmodSync, existsSync, mkdirSync, readlinkSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Duration, Effect, Fiber, Random } from "effect";

import { stopwatch } from "../../src/settings/SteadyClock.ts";
import { parseVenvName } from "../../src/venv/VenvNames.ts";
import { eventually } from "../support/effects/Waiting.ts";
import { temporaryFolder } from "../support/files/TemporaryFolder.ts";
import { hasMooseFs, mooseFs, skippedWithoutMooseFs } from "../support/moosefs/MooseFs.ts";
import { volumeWorker } from "../support/moosefs/VolumeWorker.ts";
import { pythonLock } from "../support/processes/PythonLock.ts";
import { findTools } from "../support/processes/TestMachine.ts";
import { functionInput } from "../support/values/JobInputs.ts";

const WHERE = "import os, sys\ndef f(): return [os.getcwd(), sys.prefix]";
const plainJob = functionInput(WHERE);
const jobWith = (...dependencies: ReadonlyArray<string>) =>
  functionInput(
    "import importlib.metadata as m, os, sys\ndef f(*names): return [os.getcwd(), sys.prefix, *map(m.version, names)]",
    dependencies.map((dependency) => dependency.split("==")[0]),
    { dependencies },
  );

const workspaceOf = (path: string) => join(path, "runtimes", "tests");

/** The virtual environment that the link on the volume points to. */
const published = (path: string) =>
  join(workspaceOf(path), readlinkSync(join(workspaceOf(path), ".venv")));

const generationOf = (path: string) => parseVenvName(published(path).split("/").at(-1) ?? "");

/** Variables of a worker whose uv hangs when it installs a package. */
const hangingInstall = Effect.fnUntraced(function* (name: string) {
  const { uv } = yield* findTools;
  const folder = yield* temporaryFolder;
  const bin = join(folder, "bin");
  const marker = join(folder, "hangs");
  mkdirSync(bin);
  writeFileSync(
    join(bin, "uv"),
    `#!/bin/sh
case "$*" in
*--dry-run*) ;;
*"pip install"*${name}*) touch ${marker}; exec sleep 1000 ;;
esac
exec ${uv} "$@"
`,
  );
  chmodSync(join(bin, "uv"), 0o755);
  return {
    variables: { PATH: [bin, process.env["PATH"]].join(delimiter) },
    hangs: eventually(() => existsSync(marker)),
  };
});

/** Fails if an effect takes longer. */
const within = Effect.fnUntraced(function* <A, E, R>(
  limit: Duration.Duration,
  effect: Effect.Effect<A, E, R>,
) {
  const elapsed = yield* stopwatch;
  const value = yield* effect;
  assert.isBelow(Duration.toSeconds(yield* elapsed), Duration.toSeconds(limit));
  return value;
});

describe.skipIf(!hasMooseFs)(`leases on MooseFS${skippedWithoutMooseFs}`, () => {
  it.live("of a host that died during a build are replaced", () =>
    Effect.gen(function* () {
      const { a, b } = yield* mooseFs();
      const { variables, hangs } = yield* hangingInstall("cloudpickle");
      const doomed = yield* volumeWorker(a.path, variables);
      doomed.service.submit(plainJob);
      yield* hangs;
      yield* a.killWith(doomed);
      const next = yield* volumeWorker(b.path);
      const { output } = yield* within(Duration.seconds(60), next.answer(plainJob));
      assert.deepInclude(output, { json_result: [workspaceOf(b.path), published(b.path)] });
      assert.strictEqual(generationOf(b.path)?.generation, 1);
    }).pipe(Effect.scoped),
  );

  it.live("of a host that died during an install are replaced", () =>
    Effect.gen(function* () {
      const { a, b } = yield* mooseFs();
      const { variables, hangs } = yield* hangingInstall("six");
      const doomed = yield* volumeWorker(a.path, variables);
      yield* doomed.answer(plainJob);
      const abandoned = published(b.path);
      doomed.service.submit(jobWith("six==1.16.0"));
      yield* hangs;
      yield* a.killWith(doomed);
      const next = yield* volumeWorker(b.path);
      const first = yield* within(Duration.seconds(60), next.answer(plainJob));
      assert.deepInclude(first.output, { json_result: [workspaceOf(b.path), abandoned] });
      const second = yield* within(Duration.seconds(90), next.answer(jobWith("six==1.16.0")));
      const current = published(b.path);
      assert.notStrictEqual(current, abandoned);
      assert.deepInclude(second.output, { json_result: [workspaceOf(b.path), current, "1.16.0"] });
      const third = yield* volumeWorker(b.path);
      const { output } = yield* within(Duration.seconds(30), third.answer(plainJob));
      assert.deepInclude(output, { json_result: [workspaceOf(b.path), current] });
    }).pipe(Effect.scoped),
  );

  it.live("of workers that are stopped at random times do no harm when they resume", () =>
    Effect.gen(function* () {
      const { a, b } = yield* mooseFs();
      const one = yield* volumeWorker(a.path);
      const other = yield* volumeWorker(b.path);
      const first = yield* Effect.forkScoped(one.answer(jobWith("six==1.16.0")));
      yield* Effect.sleep({ milliseconds: yield* Random.nextIntBetween(500, 8000) });
      yield* one.signalGroup("SIGSTOP");
      const second = yield* other.answer(jobWith("six==1.16.0", "idna==3.10"));
      const before = generationOf(b.path)?.generation ?? 0;
      yield* one.signalGroup("SIGCONT");
      const resumed = yield* Fiber.join(first);
      assert.include(JSON.stringify(resumed.output), '"1.16.0"]');
      assert.include(JSON.stringify(second.output), '"1.16.0","3.10"]');
      assert.isAtLeast(generationOf(b.path)?.generation ?? 0, before);
      const both = yield* other.answer(jobWith("six==1.16.0", "idna==3.10"));
      assert.deepStrictEqual(both.output, second.output);
    }).pipe(Effect.scoped),
  );

  it.live("are not needed for uv's cache, which a dead host may have locked", () =>
    Effect.gen(function* () {
      const { a, b } = yield* mooseFs();
      const worker = yield* volumeWorker(b.path);
      yield* worker.answer(plainJob);
      const lock = yield* pythonLock(join(a.path, ".uv-cache", ".lock"));
      assert.strictEqual(lock.state, "held");
      yield* a.kill;
      yield* lock.signal("SIGKILL");
      const { output } = yield* within(Duration.seconds(90), worker.answer(jobWith("six==1.16.0")));
      assert.deepInclude(output, {
        json_result: [workspaceOf(b.path), published(b.path), "1.16.0"],
      });
      assert.isTrue(worker.logs().some(({ message }) => message.includes("stays locked")));
    }).pipe(Effect.scoped),
  );
});
