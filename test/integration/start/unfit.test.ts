import { chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { fakeRunPod, type FakeRunPod } from "../../support/fakes/FakeRunPod.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { workerCommandOf, workerProcess } from "../../support/processes/WorkerProcess.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

const errorsOf = ({ results }: FakeRunPod) => results.map(({ body }) => String(body["error"]));

const reportsOf = ({ pings }: FakeRunPod) =>
  pings
    .filter(({ query }) => query.get("status") === "unhealthy")
    .map(({ query }) => query.get("check"));

/** A driver that loads and has no function of CUDA: the GPU can't be used any more. */
const loseGpu = (folder: string) =>
  `import ctypes.util, os, sys
    os.symlink([line.split()[-1] for line in open("/proc/self/maps") if "libc.so" in line or "libc-" in line][0], "${folder}/libcuda.so.1")`;

/** Any user that no process of this machine has. */
const NOBODY = 54_321;

describe("a worker on a broken machine", () => {
  it.live("reports the job that lost the GPU, takes no other job, and exits", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const service = yield* fakeRunPod();
      const worker = yield* workerProcess({ ...service.variables, LD_LIBRARY_PATH: folder });
      service.submit(
        functionInput(
          `def f():\n    ${loseGpu(folder)}\n    raise RuntimeError("CUDA error: device-side assert triggered")`,
        ),
      );
      for (let n = 0; n < 10; n += 1) service.submit(functionInput("def f(): return 1"));
      assert.strictEqual((yield* worker.ended).code, 1);
      assert.lengthOf(service.results, 1);
      assert.match(errorsOf(service).join(), /device-side assert/);
      assert.deepStrictEqual(reportsOf(service), ["gpu"]);
      assert.include(worker.stderr(), "the GPU can't be used");
    }).pipe(Effect.scoped),
  );

  it.live("checks the GPU after three CUDA errors in a row, and exits", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const service = yield* fakeRunPod();
      const worker = yield* workerProcess({ ...service.variables, LD_LIBRARY_PATH: folder });
      const failing = 'def f(): raise RuntimeError("No CUDA GPUs are available")';
      service.submit(functionInput(failing));
      service.submit(functionInput(failing));
      service.submit(functionInput("def f(): return 1"));
      service.submit(
        functionInput(
          `def f():\n    ${loseGpu(folder)}\n    raise RuntimeError("No CUDA GPUs are available")`,
        ),
      );
      for (let n = 0; n < 10; n += 1) service.submit(functionInput(failing));
      assert.strictEqual((yield* worker.ended).code, 1);
      // The third success in between has set the count back.
      assert.lengthOf(service.results, 6);
      assert.deepStrictEqual(reportsOf(service), ["gpu"]);
    }).pipe(Effect.scoped),
  );

  it.live("uses another folder when the temporary folder is missing", () =>
    Effect.gen(function* () {
      const service = yield* fakeRunPod();
      const id = service.submit(functionInput("def f(): return 1"));
      yield* workerProcess({
        ...service.variables,
        TMPDIR: join(yield* temporaryFolder, "missing"),
      });
      assert.deepInclude((yield* service.result(id)).body["output"], { json_result: 1 });
    }).pipe(Effect.scoped),
  );

  // Only root may start a process of another user, which has a separate limit of processes.
  describe.skipIf(process.getuid?.() !== 0)("with a limit on processes", () => {
    const limited = Effect.fnUntraced(function* (service: FakeRunPod, limit: string) {
      const folder = yield* temporaryFolder;
      for (const name of ["workspace", "temporary"]) {
        mkdirSync(join(folder, name));
        chownSync(join(folder, name), NOBODY, NOBODY);
      }
      chownSync(folder, NOBODY, NOBODY);
      return yield* workerProcess(
        {
          ...service.variables,
          HOME: folder,
          TMPDIR: join(folder, "temporary"),
          WORKER_WORKSPACE_PATH: join(folder, "workspace"),
        },
        ["start"],
        workerCommandOf(NOBODY, limit),
      );
    });

    it.live("takes no job when Python can't start", () =>
      Effect.gen(function* () {
        const service = yield* fakeRunPod();
        service.submit(functionInput("def f(): return 1"));
        const worker = yield* limited(service, "prlimit --nproc=14");
        assert.strictEqual((yield* worker.ended).code, 1);
        assert.deepStrictEqual(reportsOf(service), ["python"]);
        assert.isEmpty(service.requests.filter(({ route }) => route === "take"));
      }).pipe(Effect.scoped),
    );

    it.live(
      "ends after three jobs for which Python could not be started, and leaves the others",
      () =>
        Effect.gen(function* () {
          const service = yield* fakeRunPod();
          service.submit(
            functionInput(
              "import os, resource\ndef f():\n    resource.prlimit(os.getppid(), resource.RLIMIT_NPROC, (1, 1))\n    os._exit(3)",
            ),
          );
          for (let n = 0; n < 20; n += 1) service.submit(functionInput("def f(): return 1"));
          const worker = yield* limited(service, "");
          assert.strictEqual((yield* worker.ended).code, 1);
          const errors = errorsOf(service);
          assert.lengthOf(errors, 4);
          for (const error of errors.slice(1)) assert.include(error, "EAGAIN");
          assert.deepStrictEqual(reportsOf(service), ["python"]);
        }).pipe(Effect.scoped),
    );
  });
});
