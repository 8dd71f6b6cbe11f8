import { Duration, Effect, Latch } from "effect";

import { type JobEnd, type JobListener, listenerOf } from "../domain/JobEvents.ts";
import type { Admission } from "../queue/TakeLoop.ts";
import { Fitness } from "./Fitness.ts";
import { Unfit } from "./Unfit.ts";

/** After so many consecutive failures that the machine may have caused, the machine is checked. */
export const MAX_FAILURES_IN_A_ROW = 3;

/** The delay before the next job is taken after a Python process failed to start; each further failure doubles it. */
const INITIAL_DELAY = Duration.seconds(1);

export interface JobHealth extends Admission {
  readonly events: JobListener;
  /** Checks the machine whenever jobs indicate a fault; fails if the machine can't run jobs. */
  readonly watch: Effect.Effect<never, Unfit>;
}

/** Consecutive failures. */
interface Failures {
  /** Jobs whose failure the machine may have caused. */
  readonly jobs: number;
  /** Jobs that failed before their code ran. */
  readonly launches: number;
  /** Python processes that failed to start. */
  readonly starts: number;
}

const NO_FAILURES: Failures = { jobs: 0, launches: 0, starts: 0 };

const countEnd = ({ jobs, launches, starts }: Failures, end: JobEnd): Failures => ({
  jobs: end === "ran" ? 0 : jobs + 1,
  launches: end === "launch" || end === "workspace" ? launches + 1 : 0,
  starts: end === "launch" ? starts + 1 : starts,
});

/**
 * Detects a faulty machine by how its jobs end. A job whose process lost the GPU, or several consecutive jobs that
 * failed with a CUDA error or because no process started, trigger `checkGpu`. If several consecutive starts of a process
 * fail, the machine is unfit, even if other jobs succeed in processes that were already running. No job is taken during
 * the check, and only one at a time while starts fail.
 */
export const jobHealth = Effect.fnUntraced(function* (
  checkGpu: Effect.Effect<void, Unfit>,
): Effect.fn.Return<JobHealth, never, Fitness> {
  const fitness = yield* Fitness;
  const checkRequested = yield* Latch.make(false);
  const healthy = yield* Latch.make(true);
  // Plain variables, since listeners are synchronous and run for every job.
  let failures = NO_FAILURES;
  let unfit: Unfit | undefined;

  const requestCheck = (): void => {
    healthy.closeUnsafe();
    checkRequested.openUnsafe();
  };

  const events = listenerOf({
    GpuLost: requestCheck,
    ProcessStarted: () => {
      failures = { ...failures, starts: 0 };
    },
    Ended: ({ end, reason }) => {
      failures = countEnd(failures, end);
      const failed = Math.max(failures.launches, failures.starts);
      if (failed >= MAX_FAILURES_IN_A_ROW) {
        unfit = new Unfit({
          check: "python",
          reason: `no Python process was ready for jobs ${failed} times in a row: ${reason}`,
        });
      }
      if (Math.max(failed, failures.jobs) >= MAX_FAILURES_IN_A_ROW) requestCheck();
    },
  });

  const checkMachine = Effect.gen(function* () {
    yield* checkRequested.close;
    if (unfit !== undefined) return yield* fitness.refuse(unfit);
    if (failures.jobs >= MAX_FAILURES_IN_A_ROW) {
      yield* Effect.logWarning(
        `${failures.jobs} jobs in a row failed with a CUDA error or because Python did not start; checking the machine`,
      );
      failures = { ...failures, jobs: 0 };
    }
    yield* checkGpu;
    if (!checkRequested.isOpen()) yield* healthy.open;
  });

  const beforeTake = Effect.gen(function* () {
    yield* healthy.await;
    const { launches } = failures;
    if (launches === 0) return Number.POSITIVE_INFINITY;
    yield* Effect.sleep(Duration.times(INITIAL_DELAY, 2 ** (launches - 1)));
    yield* healthy.await;
    return 1;
  });

  return {
    events,
    beforeTake,
    watch: checkRequested.await.pipe(Effect.andThen(checkMachine), Effect.forever),
  };
});
