import { cpSync, existsSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { eventually } from "../../support/effects/Waiting.ts";
import { fakeRunPod } from "../../support/fakes/FakeRunPod.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { startProcess, runProcess } from "../../support/processes/ChildProcess.ts";
import { workerProcess } from "../../support/processes/WorkerProcess.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** The text of an import's address. */
const module = (path: string) => JSON.stringify(join(ROOT, path));

/** A program of the name that the images have, which runs this code. */
const programOf = (folder: string, code: string): string => {
  mkdirSync(join(folder, "dist"));
  const file = join(folder, "dist", "bin.mjs");
  writeFileSync(file, code);
  return file;
};

/** The health check of the images, of one process. */
const health = (pid: number, folder: string) =>
  Effect.map(
    runProcess(process.execPath, [join(ROOT, "docker/health.mjs"), String(pid)], {
      environment: { ...process.env, TMPDIR: folder },
    }),
    ({ code, stderr }) => ({ code, said: stderr }),
  );

describe("the health check of the images", () => {
  it.live("fails for a stopped worker and passes while a job uses all CPU", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const program = programOf(
        folder,
        `await import(${JSON.stringify(join(ROOT, "src/main.ts"))});`,
      );
      const service = yield* fakeRunPod({});
      const { pid } = yield* workerProcess(
        { ...service.variables, TMPDIR: folder },
        ["start"],
        `exec ${process.execPath} ${program}`,
      );
      const alive = join(folder, `worker-tetra-${pid}.alive`);
      yield* eventually(() => existsSync(alive));
      assert.deepStrictEqual(yield* health(pid, folder), { code: 0, said: "" });

      const busy = join(folder, "busy");
      const end = join(folder, "end");
      const id = service.submit(
        functionInput(
          [
            "import os, subprocess, sys",
            "def f(busy, end):",
            "    burn = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(8)]",
            "    open(busy, 'w').close()",
            "    while not os.path.exists(end): pass",
            "    for one in burn: one.kill()",
            "    return [one.wait() for one in burn][0]",
          ].join("\n"),
          [busy, end],
        ),
      );
      yield* eventually(() => existsSync(busy));
      for (let check = 0; check < 3; check += 1) {
        assert.deepStrictEqual(yield* health(pid, folder), { code: 0, said: "" });
      }
      writeFileSync(end, "");
      assert.deepInclude((yield* service.result(id)).body["output"], { json_result: -9 });

      process.kill(pid, "SIGSTOP");
      assert.deepStrictEqual(yield* health(pid, folder), {
        code: 1,
        said: `process ${pid} is stopped\n`,
      });
      process.kill(pid, "SIGCONT");
      assert.strictEqual((yield* health(pid, folder)).code, 0);
      process.kill(pid, "SIGTERM");
      yield* eventually(() => !existsSync(alive));
    }).pipe(Effect.scoped),
  );

  it.live("fails for a worker with a blocked event loop, and without a worker", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const program = programOf(
        folder,
        `import { Effect } from ${module("node_modules/effect/dist/index.js")};
         import { liveness } from ${module("src/cli/process/Liveness.ts")};
         await Effect.runPromise(Effect.scoped(Effect.andThen(liveness, Effect.promise(() => { for (;;); }))));`,
      );
      const { pid } = yield* startProcess(process.execPath, [program], {
        environment: { ...process.env, TMPDIR: folder },
      });
      const alive = join(folder, `worker-tetra-${pid}.alive`);
      yield* eventually(() => existsSync(alive));
      assert.strictEqual((yield* health(pid, folder)).code, 0);
      // The state half a minute later, when the file is no longer touched.
      const earlier = new Date(Date.now() - 30_000);
      utimesSync(alive, earlier, earlier);
      const blocked = yield* health(pid, folder);
      assert.strictEqual(blocked.code, 1);
      assert.match(blocked.said, /^process \d+ has not responded for 3\d seconds\n$/);

      assert.deepStrictEqual(yield* health(process.pid, folder), {
        code: 1,
        said: "there is no worker process\n",
      });
    }).pipe(Effect.scoped),
  );
});

/** The images' smoke test with a program of this shell code in the worker's place. */
const smoke = (code: string) =>
  Effect.gen(function* () {
    const folder = yield* temporaryFolder;
    cpSync(join(ROOT, "docker/smoke.sh"), join(folder, "smoke.sh"));
    writeFileSync(join(folder, "worker-tetra"), `#!/bin/sh\n${code}`, { mode: 0o755 });
    return yield* runProcess("sh", [join(folder, "smoke.sh")], {
      environment: { ...process.env, PATH: `${folder}:${process.env["PATH"]}` },
    });
  }).pipe(Effect.scoped);

describe("smoke.sh", () => {
  it.live("shows the output of a failed doctor", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* smoke("echo 'Python is missing'; echo 'and why' >&2; exit 1");
      assert.strictEqual(code, 1);
      assert.include(stdout, "== FAILED: doctor exited with 1\nPython is missing\nand why\n");
    }),
  );
});
