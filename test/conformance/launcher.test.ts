import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { imagePython, launcherOf } from "../support/clients/Clients.ts";
import { temporaryFolder } from "../support/files/TemporaryFolder.ts";
import { startProcess } from "../support/processes/ChildProcess.ts";

const PACKAGES = fileURLToPath(new URL("../../docker", import.meta.url));

/** A PATH like that of the images, whose interpreter has no pip. */
const imagePath = Effect.fnUntraced(function* (programs: Readonly<Record<string, string>>) {
  const folder = yield* temporaryFolder;
  const bin = join(folder, "bin");
  mkdirSync(bin);
  const python3 = `case "$*" in *pip*) echo "no pip here" >&2; exit 1 ;; esac
PYTHONPATH=${PACKAGES} PYTHONDONTWRITEBYTECODE=1 exec ${yield* imagePython} "$@"`;
  for (const [name, script] of Object.entries({ python3, ...programs })) {
    const file = join(bin, name);
    writeFileSync(file, `#!/bin/sh\n${script}\n`);
    chmodSync(file, 0o755);
  }
  return `${bin}:/usr/bin:/bin`;
});

/** Runs the start command as a container's first process. */
const launch = Effect.fnUntraced(function* (
  kind: "queue" | "api" | "task",
  programs: Readonly<Record<string, string>>,
) {
  const [shell = "", ...script] = yield* launcherOf(kind);
  const { pid, ended, stdout, stderr } = yield* startProcess(shell, script, {
    environment: { PATH: yield* imagePath(programs), RUNPOD_RUNTIME_KIND: kind },
  });
  const { code } = yield* ended;
  return { pid, code, stdout: stdout(), stderr: stderr() };
});

describe("the start command that SDK 2.0 sets", () => {
  it.live.each(["queue", "api"] as const)(
    "replaces itself by the worker for a resource of the kind %s, without pip",
    (kind) =>
      Effect.gen(function* () {
        const { pid, code, stdout, stderr } = yield* launch(kind, {
          "worker-tetra": 'echo "$@, kind $RUNPOD_RUNTIME_KIND, process $$"',
        });
        assert.strictEqual(stdout, `start, kind ${kind}, process ${pid}\n`);
        assert.deepStrictEqual({ code, stderr }, { code: 0, stderr: "" });
      }).pipe(Effect.scoped),
  );

  it.live("fails with advice if the worker is not on PATH", () =>
    Effect.gen(function* () {
      const { code, stderr } = yield* launch("queue", {});
      assert.strictEqual(
        stderr,
        "worker-tetra can't be started: No such file or directory. Add its folder to PATH.\n",
      );
      assert.strictEqual(code, 1);
    }).pipe(Effect.scoped),
  );

  it.live("refuses tasks and says what to do", () =>
    Effect.gen(function* () {
      const { code, stdout, stderr } = yield* launch("task", { "worker-tetra": "echo started" });
      assert.include(stderr, "worker-tetra does not run tasks (@app.task)");
      assert.deepStrictEqual({ code, stdout }, { code: 1, stdout: "" });
    }).pipe(Effect.scoped),
  );
});
