import type { Effect, Stream } from "effect";

import type { Job } from "../domain/Job.ts";

/**
 * What a worker does with a job: returns the output of the job, or a stream of values, each of which is sent as it
 * comes. It reports what happens on the way to `JobListener`.
 */
export type Handler<R = never> = (
  job: Job,
) => Effect.Effect<unknown, unknown, R> | Stream.Stream<unknown, unknown, R>;
