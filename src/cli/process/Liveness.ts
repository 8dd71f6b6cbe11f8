import { closeSync, constants, futimesSync, openSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Effect, Result, Schedule } from "effect";

/** How often the file is touched; `docker/health.mjs` allows four times as long. */
const INTERVAL = "5 seconds";

interface OpenFile {
  readonly file: string;
  readonly descriptor: number;
}

const open = Effect.sync((): OpenFile | undefined => {
  const file = join(tmpdir(), `worker-tetra-${process.pid}.alive`);
  // A restarted container still has the files of its last run, and reuses its process ids.
  Result.try(() => unlinkSync(file));
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
  const opened = Result.try(() => openSync(file, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY, 0o600));
  return Result.isSuccess(opened) ? { file, descriptor: opened.success } : undefined;
});

const close = (opened: OpenFile | undefined) =>
  Effect.sync(() => {
    if (opened === undefined) return;
    Result.try(() => closeSync(opened.descriptor));
    Result.try(() => unlinkSync(opened.file));
  });

/**
 * Touches a file in the temporary folder until the scope closes: the images' health check then knows that the event
 * loop of this process runs. Without a writable temporary folder, the health check only checks the process.
 */
export const liveness = Effect.gen(function* () {
  const opened = yield* Effect.acquireRelease(open, close);
  if (opened === undefined) return;
  const touch = Effect.sync(() => {
    const now = new Date();
    Result.try(() => futimesSync(opened.descriptor, now, now));
  });
  yield* Effect.forkScoped(Effect.repeat(touch, Schedule.spaced(INTERVAL)));
});
