import { Effect } from "effect";

import { JobQueue } from "../../../src/queue/JobQueue.ts";

/** RunPod's wire without any wire: nothing ever comes, and everything is taken, unless said otherwise. */
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
