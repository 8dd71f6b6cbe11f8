import { Duration, Effect, Latch } from "effect";

import { type JobEnd, type JobListener, listenerOf } from "../domain/JobEvents.ts";
import type { Admission } from "../queue/TakeLoop.ts";
import { Fitness } from "./Fitness.ts";
import { Unfit } from "./Unfit.ts";

/** Failures in a row that the machine may have caused, after which the machine is checked. */
export const MAX_FAILURES_IN_A_ROW = 3;

/** The pause before the next take after a job for which no Python process could be started; it doubles. */
const FIRST_PAUSE = Duration.seconds(1);

export interface JobHealth extends Admission {
  /** The listener for jobs. */
  readonly events: JobListener;
  /** Checks the machine after suspicious failures; fails if it is unfit. */
  readonly watch: Effect.Effect<never, Unfit>;
}

/** Failures in a row. */
interface Failures {
  /** Jobs that the machine may have failed. */
  readonly jobs: number;
  /** Jobs whose code was not run. */
  readonly launches: number;
  /** Starts of a process. */
  readonly starts: number;
}

const NO_FAILURES: Failures = { jobs: 0, launches: 0, starts: 0 };

/** The failures after a job has ended. */
const countEnd = ({ jobs, launches, starts }: Failures, end: JobEnd): Failures => ({
  jobs: end === "ran" ? 0 : jobs + 1,
  launches: end === "launch" || end === "workspace" ? launches + 1 : 0,
  starts: end === "launch" ? starts + 1 : starts,
});

/**
 * Judges the machine by how its last jobs ended. A job that lost the GPU for its process, or several in a row that
 * failed because of CUDA or because no process could be started, trigger `checkGpu`. If several starts of a process in a
 * row failed, the machine is unfit in any case, whatever jobs between them did in processes that ran already. No job is
 * taken during the check, and few while starts fail.
 */
export const jobHealth = Effect.fnUntraced(function* (
  checkGpu: Effect.Effect<void, Unfit>,
): Effect.fn.Return<JobHealth, never, Fitness> {
  const fitness = yield* Fitness;
  const inDoubt = yield* Latch.make(false);
  const trusted = yield* Latch.make(true);
  // Plain variables: listeners are called synchronously, for every job.
  let failures = NO_FAILURES;
  let unfit: Unfit | undefined;

  const doubt = (): void => {
    trusted.closeUnsafe();
    inDoubt.openUnsafe();
  };

  const events = listenerOf({
    GpuLost: doubt,
    ProcessStarted: () => {
      failures = { ...failures, starts: 0 };
    },
    Ended: ({ end, reason }) => {
      failures = countEnd(failures, end);
      const failed = Math.max(failures.launches, failures.starts);
      if (failed >= MAX_FAILURES_IN_A_ROW) {
        unfit = new Unfit({
          check: "python",
          reason: `no Python process could be started, ${failed} times in a row: ${reason}`,
        });
      }
      if (Math.max(failed, failures.jobs) >= MAX_FAILURES_IN_A_ROW) doubt();
    },
  });

  const verdict = Effect.gen(function* () {
    yield* inDoubt.close;
    if (unfit !== undefined) return yield* fitness.refuse(unfit);
    if (failures.jobs >= MAX_FAILURES_IN_A_ROW) {
      yield* Effect.logWarning(
        `${failures.jobs} jobs in a row failed because of CUDA or because Python could not be started`,
      );
      failures = { ...failures, jobs: 0 };
    }
    yield* checkGpu;
    if (!inDoubt.isOpen()) yield* trusted.open;
  });

  const beforeTake = Effect.gen(function* () {
    yield* trusted.await;
    const { launches } = failures;
    if (launches === 0) return Number.POSITIVE_INFINITY;
    yield* Effect.sleep(Duration.times(FIRST_PAUSE, 2 ** (launches - 1)));
    yield* trusted.await;
    return 1;
  });

  return {
    events,
    beforeTake,
    watch: inDoubt.await.pipe(Effect.andThen(verdict), Effect.forever),
  };
});
