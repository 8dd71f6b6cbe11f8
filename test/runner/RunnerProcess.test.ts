import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, it } from "@effect/vitest";
import { Deferred, Effect, Exit, Option } from "effect";

import { RunnerProcesses } from "../../src/runner/RunnerProcess.ts";
import { temporaryFolder } from "../support/files/TemporaryFolder.ts";

it.live(
  "RunnerProcess keeps the beginning and the end of the output when the runner fails to start",
  () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const python = join(folder, "python");
      writeFileSync(
        python,
        "#!/bin/sh\necho the beginning\nhead -c 3000000 /dev/zero | tr '\\0' x >&2\necho the end >&2\nexit 1\n",
      );
      chmodSync(python, 0o700);
      const ended = yield* Deferred.make<number | undefined>();
      const runner = yield* (yield* RunnerProcesses).spawn(
        {
          python,
          environment: { PATH: "/usr/bin:/bin" },
          directory: folder,
          scratch: folder,
          maxInstances: 1,
          instanceIdle: Option.none(),
        },
        {
          limitOf: () => undefined,
          frame: () => {},
          output: () => {},
          exit: ({ code }) => Deferred.doneUnsafe(ended, Exit.succeed(code)),
        },
      );
      assert.strictEqual(yield* Deferred.await(ended), 1);
      const output = runner.bootOutput();
      assert.match(output, /^the beginning\n[^]*bytes of output left out here[^]*xthe end\n$/);
      assert.isBelow(output.length, 70_000);
    }).pipe(Effect.scoped, Effect.provide(RunnerProcesses.layer)),
);
