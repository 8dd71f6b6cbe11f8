import { Duration, Effect, Option, Ref, Schedule, Schema } from "effect";

import { codeOf } from "../../platform/ErrorCode.ts";
import { diskFault } from "../../platform/files/DiskFault.ts";
import { stopwatch } from "../../settings/SteadyClock.ts";
import { type AppStartFailed, startFailed } from "../AppStartFailed.ts";
import { type Archive, openArchive } from "./Unpack.ts";
import { ArchiveBroken, ArchiveRefused } from "./tar/ArchiveError.ts";

const POLL_INTERVAL = Duration.millis(500);
const LOG_INTERVAL = Duration.seconds(15);

/** A broken archive that does not change for so long is not being copied any more. */
const SETTLED_AFTER = Duration.seconds(10);

/** The archive is missing or incomplete, but this may change. */
class ArchivePending extends Schema.TaggedError<ArchivePending>()("ArchivePending", {
  /** Continues "The archive of the app, /path, …". */
  reason: Schema.String,
}) {}

/** What is known of a broken archive. */
interface Seen {
  readonly identity: string;
  readonly reason: string;
  /** Whether this version of it was read; false if it has changed since. */
  readonly isTried: boolean;
  /** Time since the last change. */
  readonly unchanged: Effect.Effect<Duration.Duration>;
}

const MISSING = "does not exist";

const REDEPLOY = "Deploy the app again.";

const DELIVERY =
  "RunPod delivers it to endpoints that were created by the client's deploy command; deploy the app again, or set FLASH_BUILD_ARTIFACT_PATH or RUNPOD_ARTIFACT_WAIT.";

/** Runs a promise; interruption aborts it and waits for its end. */
const abortable = <A>(act: (signal: AbortSignal) => Promise<A>) =>
  Effect.callback<A, unknown>((resume) => {
    const controller = new AbortController();
    const running = act(controller.signal).then(
      (value) => resume(Effect.succeed(value)),
      (error: unknown) => resume(Effect.fail(error)),
    );
    return Effect.promise(() => {
      controller.abort();
      return running;
    });
  });

const failureOf = (path: string, error: unknown): AppStartFailed => {
  if (error instanceof ArchiveRefused) {
    return startFailed("locate", `The archive of the app, ${path}, ${error.reason}`, error.advice);
  }
  const fault = diskFault(path, "can't be read")(error);
  return startFailed("locate", fault.summary, `${fault.advice ?? "Check the disk"}.`);
};

const isMissing = (error: unknown): boolean => ["ENOENT", "ENOTDIR"].includes(codeOf(error));

const open = (path: string) =>
  Effect.acquireRelease(
    Effect.tryPromise(() => openArchive(path)).pipe(
      Effect.mapError(({ cause }) =>
        isMissing(cause) ? new ArchivePending({ reason: MISSING }) : failureOf(path, cause),
      ),
    ),
    ({ handle }) => Effect.promise(() => handle.close()),
  );

/** Whether a broken archive may be read, and what to do if it is broken still. */
const brokenArchive = Effect.fnUntraced(function* (path: string) {
  const seen = yield* Ref.make(Option.none<Seen>());

  const assertReady = Effect.fnUntraced(function* (identity: string) {
    const last = Option.getOrUndefined(yield* Ref.get(seen));
    if (last === undefined) return;
    const { reason, isTried, unchanged } = last;
    if (last.identity !== identity) {
      const changed = { identity, reason, isTried: false, unchanged: yield* stopwatch };
      yield* Ref.set(seen, Option.some(changed));
      return yield* new ArchivePending({ reason });
    }
    if (!isTried) return;
    if (Duration.isLessThan(yield* unchanged, SETTLED_AFTER)) {
      return yield* new ArchivePending({ reason });
    }
    return yield* startFailed("locate", `The archive of the app, ${path}, ${reason}`, REDEPLOY);
  });

  const postpone = Effect.fnUntraced(function* (identity: string, reason: string) {
    const last = Option.getOrUndefined(yield* Ref.get(seen));
    const unchanged = last?.identity === identity ? last.unchanged : yield* stopwatch;
    yield* Ref.set(seen, Option.some({ identity, reason, isTried: true, unchanged }));
    return yield* new ArchivePending({ reason });
  });

  return { assertReady, postpone };
});

/** Logs the first message, and then one each 15 seconds. */
const waitingLog = Effect.map(Ref.make(Option.none<Effect.Effect<Duration.Duration>>()), (last) =>
  Effect.fnUntraced(function* (message: string) {
    const elapsed = Option.getOrUndefined(yield* Ref.get(last));
    if (elapsed !== undefined && Duration.isLessThan(yield* elapsed, LOG_INTERVAL)) return;
    yield* Ref.set(last, Option.some(yield* stopwatch));
    yield* Effect.logInfo(message);
  }),
);

/**
 * Uses an archive as soon as it is there and whole, at most after `limit`. While it is missing or incomplete, it may
 * still be about to be copied.
 */
export const useArchive = Effect.fn("ArchiveWait.useArchive")(function* <A>(
  path: string,
  limit: Duration.Duration,
  use: (archive: Archive, signal: AbortSignal) => Promise<A>,
) {
  const { assertReady, postpone } = yield* brokenArchive(path);
  const log = yield* waitingLog;
  const seconds = Duration.toSeconds(limit);
  // A schedule that is limited by time alone has at least one retry.
  const times = Math.ceil(seconds / Duration.toSeconds(POLL_INTERVAL));

  const attempt = Effect.gen(function* () {
    const archive = yield* open(path);
    yield* assertReady(archive.identity);
    return yield* abortable((signal) => use(archive, signal)).pipe(
      Effect.mapError((error) => (error instanceof ArchiveBroken ? error : failureOf(path, error))),
      Effect.catchTag("ArchiveBroken", ({ reason }) => postpone(archive.identity, reason)),
    );
  }).pipe(
    Effect.scoped,
    Effect.tapErrorTag("ArchivePending", ({ reason }) =>
      log(`Waiting at most ${seconds} seconds for the archive of the app, ${path}: it ${reason}`),
    ),
  );

  return yield* attempt.pipe(
    Effect.retry({
      schedule: Schedule.spaced(POLL_INTERVAL).pipe(Schedule.upTo({ duration: limit, times })),
      while: (error) => error._tag === "ArchivePending",
    }),
    Effect.catchTag("ArchivePending", ({ reason }) =>
      startFailed(
        "locate",
        `The archive of the app, ${path}, ${reason} (waited ${seconds} seconds)`,
        reason === MISSING ? DELIVERY : REDEPLOY,
      ),
    ),
  );
});
