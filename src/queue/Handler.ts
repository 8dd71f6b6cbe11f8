import type { Effect, Stream } from "effect";

import type { Job } from "../domain/Job.ts";

/**
 * Runs a job. Returns its output, or a stream of values that are also sent one by one while the job runs. Reports
 * events to `JobListener`.
 */
export type Handler<R = never> = (
  job: Job,
) => Effect.Effect<unknown, unknown, R> | Stream.Stream<unknown, unknown, R>;
