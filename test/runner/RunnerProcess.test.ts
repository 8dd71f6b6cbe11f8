import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Deferred, Duration, Effect, Exit, Option, Schema } from "effect";

import {
  type RunnerCommand,
  RunnerProcesses,
  type RunnerSetup,
} from "../../src/runner/RunnerProcess.ts";
import { RunnerConfig } from "../../src/runner/RunnerProtocol.ts";
import { temporaryFolder } from "../support/files/TemporaryFolder.ts";

/** Starts a shell script in place of Python, and waits until it has exited. */
const runScript = Effect.fnUntraced(function* (
  script: string,
  command?: Partial<RunnerCommand>,
  setup?: RunnerSetup,
) {
  const folder = yield* temporaryFolder;
  const python = join(folder, "python");
  writeFileSync(python, `#!/bin/sh\n${script}`);
  chmodSync(python, 0o700);
  const ended = yield* Deferred.make<number | undefined>();
  const runner = yield* (yield* RunnerProcesses).spawn(
    {
      python,
      environment: { PATH: "/usr/bin:/bin" },
      directory: folder,
      scratch: folder,
      ...command,
    },
    {
      limitOf: () => undefined,
      frame: () => {},
      output: () => {},
      exit: ({ code }) => Deferred.doneUnsafe(ended, Exit.succeed(code)),
    },
  );
  if (setup !== undefined) runner.configure(setup);
  return { code: yield* Deferred.await(ended), output: runner.bootOutput() };
});

describe("RunnerProcess", () => {
  it.live("keeps the beginning and the end of the output of a runner that fails to start", () =>
    Effect.gen(function* () {
      const { code, output } = yield* runScript(
        "echo the beginning\nhead -c 3000000 /dev/zero | tr '\\0' x >&2\necho the end >&2\nexit 1\n",
      );
      assert.strictEqual(code, 1);
      assert.match(output, /^the beginning\n[^]*bytes of output left out here[^]*xthe end\n$/);
      assert.isBelow(output.length, 70_000);
    }).pipe(Effect.scoped, Effect.provide(RunnerProcesses.layer)),
  );

  it.live(
    "names a current directory that does not exist, which the system reports like a missing program",
    () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(runScript("", { directory: "/nonexistent" }));
        assert.include(error.message, "the current directory /nonexistent does not exist");
      }).pipe(Effect.scoped, Effect.provide(RunnerProcesses.layer)),
  );

  it.live("sends the fields of the golden configuration to Python", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const directory = join(folder, "directory");
      mkdirSync(directory);
      const golden = yield* Schema.decodeEffect(Schema.fromJsonString(RunnerConfig))(
        readFileSync(join(import.meta.dirname, "golden-config.json"), "utf8"),
      );
      // Prints the metadata of the first frame, after its header of 12 bytes and its length.
      const { output } = yield* runScript(
        "dd bs=65536 count=1 <&3 2>/dev/null | tail -c +17",
        { directory, scratch: folder },
        {
          maxInstances: 8,
          instanceIdle: Option.some(Duration.seconds(90.5)),
          ...(golden.app === undefined ? {} : { app: golden.app }),
        },
      );
      assert.deepStrictEqual(JSON.parse(output), {
        ...golden,
        dir: folder,
        cwd: directory,
        parent: process.pid,
        blobs: [],
      });
    }).pipe(Effect.scoped, Effect.provide(RunnerProcesses.layer)),
  );
});
