import { Context, Duration, Effect, Schedule, Semaphore } from "effect";
import { HttpBody, HttpClient, HttpClientRequest } from "effect/http";

import { PostFailed, transportReason } from "../../queue/runpod/RequestFailed.ts";
import type { LocalJob } from "./LocalJob.ts";

/** As on RunPod: two more tries with this pause. The limit for one try is ours. */
const RETRIES = 2;
const PAUSE = Duration.seconds(10);
const TIMEOUT = Duration.seconds(10);

/** The most bytes of results that wait for their webhooks, and the overhead that is counted for each. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
const OVERHEAD_BYTES = 4096;

/** The most bytes of results that wait for their webhooks; tests have a lower limit. */
export const WaitingWebhookBytes = Context.Reference<number>(
  "worker-tetra/endpoint/WaitingWebhookBytes",
  { defaultValue: () => MAX_WAITING_BYTES },
);

/** Posts the end of a job to the address that its client gave. Only status 200 is a success; never fails. */
export const postToWebhook = Effect.fn("JobWebhook.post")(function* (
  address: string,
  job: LocalJob,
) {
  const client = yield* HttpClient.HttpClient;
  const body = HttpBody.uint8Array(job.toJson(), "application/json");
  yield* client.execute(HttpClientRequest.post(address, { body })).pipe(
    Effect.flatMap(({ status }) =>
      status === 200
        ? Effect.void
        : Effect.fail(new PostFailed({ status, reason: `it answered ${status}` })),
    ),
    Effect.timeout(TIMEOUT),
    Effect.retry({ times: RETRIES, schedule: Schedule.spaced(PAUSE) }),
    Effect.catch((error) => {
      // The error's message contains the address, and anyone who knows it can post there.
      const reason = error._tag === "HttpClientError" ? transportReason(error) : error.message;
      return Effect.logWarning(`Could not call the webhook of job ${job.id}: ${reason}`);
    }),
  );
});

/** Makes a function that calls webhooks in the background, within a limit of memory. */
export const makeWebhooks = Effect.gen(function* () {
  const client = yield* HttpClient.HttpClient;
  const scope = yield* Effect.scope;
  const limit = yield* WaitingWebhookBytes;
  const room = Semaphore.makeUnsafe(limit);

  return Effect.fnUntraced(function* (address: string, job: LocalJob) {
    const size = Math.min(job.resultSize + OVERHEAD_BYTES, limit);
    if (!(yield* room.takeIfAvailable(size))) {
      return yield* Effect.logWarning(
        `The webhook of job ${job.id} is not called: the results of too many others are still on their way`,
      );
    }
    yield* postToWebhook(address, job).pipe(
      Effect.provideService(HttpClient.HttpClient, client),
      Effect.ensuring(room.release(size)),
      Effect.forkIn(scope),
    );
  });
});
