import { closeSync, constants, futimesSync, openSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Effect, Result, Schedule } from "effect";

/** How often the file is touched; `docker/health.mjs` allows four times as long. */
const INTERVAL = "5 seconds";

const open = Effect.sync(() => {
  const file = join(tmpdir(), `worker-tetra-${process.pid}.alive`);
  // A container that is started again has the files of its last run, and the same process ids.
  Result.try(() => unlinkSync(file));
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
  const opened = Result.try(() => openSync(file, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY, 0o600));
  return Result.isSuccess(opened) ? { file, descriptor: opened.success } : undefined;
});

/**
 * Tells the images' health check that this process's event loop runs: touches a file in the temporary folder until
 * the scope closes. Without a writable temporary folder there is no file, and the health check only checks the process.
 */
export const liveness = Effect.gen(function* () {
  const opened = yield* Effect.acquireRelease(open, (held) =>
    Effect.sync(() => {
      if (held === undefined) return;
      Result.try(() => closeSync(held.descriptor));
      Result.try(() => unlinkSync(held.file));
    }),
  );
  if (opened === undefined) return;
  const touch = Effect.sync(() => {
    const now = new Date();
    Result.try(() => futimesSync(opened.descriptor, now, now));
  });
  yield* Effect.forkScoped(Effect.repeat(touch, Schedule.spaced(INTERVAL)));
});
