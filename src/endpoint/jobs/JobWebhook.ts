import { Context, Duration, Effect, Schedule, Semaphore } from "effect";
import { HttpBody, HttpClient, HttpClientRequest } from "effect/http";

import { PostFailed, transportReason } from "../../queue/runpod/RequestFailed.ts";
import type { LocalJob } from "./LocalJob.ts";

/** Retries and their pauses as on RunPod; the timeout of a try is not documented there. */
const RETRIES = 2;
const PAUSE = Duration.seconds(10);
const TIMEOUT = Duration.seconds(10);

/** The maximum bytes of results that wait for their webhooks, and the overhead that is counted for each result. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
const OVERHEAD_BYTES = 4096;

/** The same limit as a reference, so that tests can lower it. */
export const WaitingWebhookBytes = Context.Reference<number>(
  "worker-tetra/endpoint/WaitingWebhookBytes",
  { defaultValue: () => MAX_WAITING_BYTES },
);

/** Posts a finished job to the webhook of its client. Only status 200 is a success; failures are logged. */
export const postToWebhook = Effect.fn("JobWebhook.post")(function* (url: string, job: LocalJob) {
  const client = yield* HttpClient.HttpClient;
  const body = HttpBody.uint8Array(job.toJson(), "application/json");
  yield* client.execute(HttpClientRequest.post(url, { body })).pipe(
    Effect.flatMap(({ status }) =>
      status === 200
        ? Effect.void
        : Effect.fail(new PostFailed({ status, reason: `HTTP ${status}` })),
    ),
    Effect.timeout(TIMEOUT),
    Effect.retry({ times: RETRIES, schedule: Schedule.spaced(PAUSE) }),
    Effect.catch((error) => {
      // The error's message contains the URL, and anyone who knows it can post to it.
      const reason = error._tag === "HttpClientError" ? transportReason(error) : error.message;
      return Effect.logWarning(`Could not call the webhook of job ${job.id}: ${reason}`);
    }),
  );
});

/** Makes a function that calls webhooks in the background, within a memory limit. */
export const makeWebhooks = Effect.gen(function* () {
  const client = yield* HttpClient.HttpClient;
  const scope = yield* Effect.scope;
  const limit = yield* WaitingWebhookBytes;
  const capacity = Semaphore.makeUnsafe(limit);

  return Effect.fnUntraced(function* (url: string, job: LocalJob) {
    const size = Math.min(job.resultSize + OVERHEAD_BYTES, limit);
    if (!(yield* capacity.takeIfAvailable(size))) {
      return yield* Effect.logWarning(
        `Webhook of job ${job.id} not called: too many results are waiting for their webhooks`,
      );
    }
    yield* postToWebhook(url, job).pipe(
      Effect.provideService(HttpClient.HttpClient, client),
      Effect.ensuring(capacity.release(size)),
      Effect.forkIn(scope),
    );
  });
});
