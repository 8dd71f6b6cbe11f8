import { Effect } from "effect";

import { JobQueue } from "../../../src/queue/JobQueue.ts";

/** A job queue without a network. By default it has no jobs and accepts all results. */
export const fakeJobQueue = (changes: Partial<JobQueue["Service"]> = {}) =>
  JobQueue.of({
    take: () => Effect.never,
    stops: Effect.never,
    complete: () => Effect.void,
    chunk: () => Effect.void,
    canStop: true,
    rerunsUnfinished: false,
    canStream: true,
    ping: () => Effect.void,
    ...changes,
  });
