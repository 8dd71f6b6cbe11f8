import { Effect, Option, ScopedRef, Semaphore } from "effect";

import * as JobEvents from "../../domain/JobEvents.ts";
import { setInterruptibly } from "../state/Replacement.ts";
import { type AppJob, type JobContext, runJob } from "./AppJobs.ts";
import { type AppProcess, type AppSpec, openProcess, serveIn, type Serving } from "./AppProcess.ts";

const isUsable = (process: AppProcess | undefined): process is AppProcess =>
  process !== undefined && !process.isUnfit && process.session.exit() === undefined;

/**
 * A place for one process of an app, and its replacements. Each call takes one permit; replacing the process takes all
 * of them, so that it waits for the running calls. Calls that come in the meantime wait for the new process.
 */
export const makeAppLane = Effect.fnUntraced(function* (spec: AppSpec, context: JobContext) {
  const scope = yield* Effect.scope;
  const current = yield* ScopedRef.make(() => Option.none<AppProcess>());
  const process = () => Option.getOrUndefined(ScopedRef.getUnsafe(current));
  let capacity = 1;
  const permits = Semaphore.makeUnsafe(capacity);

  const start = Effect.gen(function* () {
    // The old process ends before the next one starts, since the memory of the GPU may not be enough for both.
    yield* ScopedRef.set(current, Effect.succeedNone);
    yield* setInterruptibly(current, Effect.asSome(openProcess(spec, context.limits)));
    (yield* JobEvents.JobListener).notify({ _tag: "ProcessStarted" });
  });

  /** Replaces a process that ended or must not get another call. */
  const ensureOpen = Effect.suspend(() =>
    isUsable(process())
      ? Effect.void
      : permits.withPermits(capacity)(
          Effect.suspend(() => (isUsable(process()) ? Effect.void : start)),
        ),
  );
  const reopen = ensureOpen.pipe(Effect.ignore, Effect.forkIn(scope));

  /** Uses a process; none if it ended before it could be used. */
  const tryUse = <A, E, R>(use: (process: AppProcess) => Effect.Effect<A, E, R>) =>
    permits.withPermit(
      Effect.suspend(() => {
        const usable = process();
        return isUsable(usable) ? Effect.asSome(use(usable)) : Effect.succeedNone;
      }),
    );

  const withProcess = Effect.fnUntraced(function* <A, E, R>(
    use: (process: AppProcess) => Effect.Effect<A, E, R>,
  ) {
    while (true) {
      yield* ensureOpen;
      const used = yield* tryUse(use);
      if (Option.isSome(used)) return used.value;
    }
  });

  return {
    /** Starts the process; returns what it says. */
    open: Effect.gen(function* () {
      const { opened } = yield* withProcess(Effect.succeed);
      if (opened.overlaps) {
        capacity = spec.concurrency;
        yield* permits.resize(capacity);
      }
      return opened;
    }),
    isOpen: () => isUsable(process()),
    job: (job: AppJob) =>
      withProcess((usable) =>
        Effect.ensuring(
          runJob(usable, job, context),
          Effect.suspend(() => (isUsable(usable) ? Effect.void : reopen)),
        ),
      ),
    serve: (serving: Serving) =>
      withProcess(({ session, log }) => serveIn(session, log, serving, context.limits)),
  };
});
