import { Effect, Schedule } from "effect";
import { HttpBody, HttpClient, HttpClientRequest } from "effect/http";

import { PostFailed, transportReason } from "../../queue/JobQueue.ts";
import type { LocalJob } from "./LocalJob.ts";

/** As RunPod does it: two more tries, this far apart. The limit of one try is ours. */
const RETRIES = 2;
const PAUSE = "10 seconds";
const LIMIT = "10 seconds";

/** Tells the address that a client gave how its job ended. Only 200 counts as heard; never fails. */
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
    Effect.timeout(LIMIT),
    Effect.retry({ times: RETRIES, schedule: Schedule.spaced(PAUSE) }),
    Effect.catch((error) => {
      // The error's message contains the address, and anyone who knows it can post there.
      const reason = error._tag === "HttpClientError" ? transportReason(error) : error.message;
      return Effect.logWarning(`Could not call the webhook of job ${job.id}: ${reason}`);
    }),
  );
});
