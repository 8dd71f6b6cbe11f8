import { Effect, Stream } from "effect";

import type { Job } from "../../domain/Job.ts";
import { both, JobListener, listenerOf } from "../../domain/JobEvents.ts";
import type { Handler } from "../Handler.ts";
import { JobQueue } from "../JobQueue.ts";
import { chunkStream } from "./ChunkStream.ts";
import { PROGRESS, progressReport } from "./ProgressReport.ts";

/** Collects the values of a handler's stream, and offers each one to the channel for values. */
const collect = <R>(
  produced: Stream.Stream<unknown, unknown, R>,
  offer: (value: unknown) => void,
) => {
  const values: Array<unknown> = [];
  return Stream.runForEach(produced, (value) =>
    Effect.sync(() => {
      values.push(value);
      offer(value);
    }),
  ).pipe(Effect.as(values));
};

/**
 * Makes a function that opens the channels of a job, which send its progress and its values to RunPod while it runs.
 * The channels stay open until the scope closes.
 */
export const makeJobChannels = Effect.gen(function* () {
  const queue = yield* JobQueue;
  const mode = yield* PROGRESS.value;

  return Effect.fnUntraced(function* <R>(handler: Handler<R>, job: Job) {
    const stream = yield* chunkStream(queue, job.id);
    const progress = yield* progressReport(queue, job.id, mode);
    const reporter = listenerOf({
      StageStarted: ({ stage }) => progress.stage(stage),
      OutputWritten: ({ lines }) => progress.output(lines),
      ...(queue.canStream ? { ValueYielded: ({ value }) => stream.offerEncoded(value) } : {}),
    });

    const handled = Effect.suspend(() => {
      const produced = handler(job);
      return Stream.isStream(produced) ? collect(produced, stream.offer) : produced;
    });

    return {
      /** Runs the handler. */
      handled: Effect.provideService(handled, JobListener, both(yield* JobListener, reporter)),
      /** Whether values were streamed. */
      isStream: stream.isUsed,
      /** Sends everything that must arrive before the result. */
      flush: Effect.andThen(stream.end, progress.end),
    };
  });
});
