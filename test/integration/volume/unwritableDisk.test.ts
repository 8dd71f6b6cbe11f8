import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer } from "effect";

import { JobStore } from "../../../src/endpoint/store/JobStore.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { findTools } from "../../support/processes/TestMachine.ts";
import {
  workerCommand,
  workerCommandOf,
  workerProcess,
} from "../../support/processes/WorkerProcess.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

/** A user without a home, as `docker run --user 1000` has. */
const USER = 1000;

/** The start of a command that runs in a mount namespace where only the given folders are writable. */
const onReadOnlyDisks = (writable: ReadonlyArray<string>) => {
  const binds = writable.map((folder) => `mount --bind ${folder} ${folder}`);
  const mounts = [
    ...binds,
    "mount -t tmpfs -o ro tmpfs /dev/shm",
    "mount -o remount,bind,ro /",
  ].join(" && ");
  return `exec unshare -m --propagation private sh -c '${mounts} && exec "$@"' sh`;
};

const readOnly = (writable: ReadonlyArray<string>) =>
  `${onReadOnlyDisks(writable)} ${workerCommand()}`;

const canMount = spawnSync("sh", ["-c", `${onReadOnlyDisks([])} true`]);
const isRoot = process.getuid?.() === 0;

const { uv } = await Effect.runPromise(findTools);

/** A volume, and a folder with uv that any user can run. */
const folders = Effect.map(temporaryFolder, (folder) => {
  chmodSync(folder, 0o755);
  const volume = join(folder, "volume");
  const bin = join(folder, "bin");
  for (const path of [volume, bin]) mkdirSync(path);
  chownSync(volume, USER, USER);
  copyFileSync(uv, join(bin, "uv"));
  return { folder, volume, PATH: `${bin}:/usr/local/bin:/usr/bin:/bin` };
});

const INPUT = JSON.stringify({
  input: functionInput(
    "def f():\n    import os, tempfile\n    with tempfile.TemporaryFile() as file: file.write(b'x')\n    return os.getcwd()",
  ),
});

const QUEUE = {
  RUNPOD_WEBHOOK_GET_JOB: "http://127.0.0.1:9/job-take/x",
  RUNPOD_WEBHOOK_POST_OUTPUT: "http://127.0.0.1:9/job-done/x",
};

describe.skipIf(!isRoot)("a worker whose user can't write to the container's disk", () => {
  it.live("works on the network volume", () =>
    Effect.gen(function* () {
      const { volume, PATH } = yield* folders;
      const run = yield* workerProcess(
        { PATH, HOME: "/", RUNPOD_VOLUME_PATH: volume, WORKER_WORKSPACE_PATH: "" },
        ["start", "--test_input", INPUT],
        workerCommandOf(USER),
      );
      const { code } = yield* run.ended;
      assert.include(run.stdout(), join(volume, "runtimes", "tests"), run.stderr());
      assert.strictEqual(code, 0);
      assert.notInclude(run.stderr(), "EACCES");
    }).pipe(Effect.scoped),
  );

  it.live("passes its checks and takes jobs", () =>
    Effect.gen(function* () {
      const { volume, PATH } = yield* folders;
      const run = yield* workerProcess(
        { ...QUEUE, PATH, HOME: "/", RUNPOD_VOLUME_PATH: volume, WORKER_WORKSPACE_PATH: "" },
        ["start"],
        workerCommandOf(USER),
      );
      yield* run.wrote(`Workspace ${volume}`);
    }).pipe(Effect.scoped),
  );
});

describe.skipIf(canMount.status !== 0)("a worker in a read-only container", () => {
  it.live("works on the network volume, including its temporary files", () =>
    Effect.gen(function* () {
      const { volume, PATH } = yield* folders;
      const run = yield* workerProcess(
        { PATH, RUNPOD_VOLUME_PATH: volume, WORKER_WORKSPACE_PATH: "" },
        ["start", "--test_input", INPUT],
        readOnly([volume]),
      );
      const { code } = yield* run.ended;
      assert.include(run.stdout(), join(volume, "runtimes", "tests"), run.stderr());
      assert.strictEqual(code, 0);
    }).pipe(Effect.scoped),
  );

  it.live("works in a writable TMPDIR", () =>
    Effect.gen(function* () {
      const { volume, PATH } = yield* folders;
      const variables = { PATH, HOME: "/nonexistent", WORKER_WORKSPACE_PATH: "", TMPDIR: volume };
      const run = yield* workerProcess(
        variables,
        ["start", "--test_input", INPUT],
        readOnly([volume]),
      );
      const { code } = yield* run.ended;
      assert.include(run.stdout(), volume, run.stderr());
      assert.strictEqual(code, 0);
    }).pipe(Effect.scoped),
  );

  it.live.each([
    ["takes no job from the queue", ["start"], QUEUE],
    ["fails a job", ["start", "--test_input", INPUT], {}],
  ] as const)(
    "%s if no folder is writable, and reports that the disk is read-only",
    ([, args, more]) =>
      Effect.gen(function* () {
        const { PATH } = yield* folders;
        const run = yield* workerProcess(
          { PATH, WORKER_WORKSPACE_PATH: "", XDG_CACHE_HOME: "/missing", ...more },
          args,
          readOnly([]),
        );
        const { code } = yield* run.ended;
        const output = run.stdout() + run.stderr();
        assert.strictEqual(code, 1, output);
        assert.include(output, "read-only (EROFS)");
        assert.notInclude(output, "NotFound");
        assert.notInclude(output, "ree some space");
      }).pipe(Effect.scoped),
  );

  it.live.each([
    ["new", "can't be created"],
    ["old", "can't be written to"],
  ] as const)("does not keep jobs in a read-only folder that is %s", ([name, problem]) =>
    Effect.gen(function* () {
      const { folder, PATH } = yield* folders;
      yield* Effect.scoped(Layer.build(JobStore.layerFolder(join(folder, "old"))));
      const run = yield* workerProcess(
        { PATH, WORKER_WORKSPACE_PATH: "" },
        ["serve", "--port", "0", "--keep", join(folder, name)],
        readOnly([]),
      );
      const { code } = yield* run.ended;
      assert.include(run.stderr(), `${problem}: it is mounted read-only (EROFS)`);
      assert.strictEqual(code, 2);
    }).pipe(Effect.scoped),
  );

  it.live("prunes nothing on a read-only volume, and reports the reason", () =>
    Effect.gen(function* () {
      const { volume, PATH } = yield* folders;
      const variables = { PATH, RUNPOD_VOLUME_PATH: volume };
      const run = yield* workerProcess(variables, ["prune", "--yes"], readOnly([]));
      yield* run.ended;
      assert.include(
        run.stderr(),
        `${volume} can't be written to: it is mounted read-only (EROFS)`,
      );
    }).pipe(Effect.scoped),
  );
});
