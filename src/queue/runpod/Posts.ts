import { Duration, Effect, Option } from "effect";
import { HttpBody, HttpClient, HttpClientRequest } from "effect/http";

import { PostFailed, transportReason } from "./RequestFailed.ts";

/** The requests with which a worker reports; only the status of their responses is read. */
export const makePosts = (
  client: HttpClient.HttpClient,
  headers: Readonly<Record<string, string>>,
) => {
  const send = (request: HttpClientRequest.HttpClientRequest, limit: Duration.Duration) =>
    client.execute(request).pipe(
      Effect.flatMap((response) =>
        // The body is read so that the connection can be used again.
        Effect.as(Effect.ignore(response.arrayBuffer), response.status),
      ),
      Effect.catchTag("HttpClientError", (error) =>
        Effect.fail(new PostFailed({ reason: transportReason(error) })),
      ),
      Effect.timeoutOrElse({
        duration: limit,
        orElse: () =>
          Effect.fail(
            new PostFailed({
              reason: `there was no answer within ${Duration.toSeconds(limit)} seconds`,
            }),
          ),
      }),
      Effect.flatMap((status) =>
        status >= 200 && status < 300
          ? Effect.void
          : Effect.fail(new PostFailed({ status, reason: `it answered ${status}` })),
      ),
    );

  const post = (
    url: Option.Option<string>,
    jobId: string,
    body: Uint8Array,
    limit: Duration.Duration,
  ): Effect.Effect<void, PostFailed> =>
    Option.match(url, {
      onNone: () =>
        Effect.fail(new PostFailed({ status: 404, reason: "there is no address for it" })),
      onSome: (address) =>
        send(
          HttpClientRequest.post(address, {
            headers: { ...headers, "x-request-id": jobId, charset: "utf-8" },
            // The service expects JSON under this name.
            body: HttpBody.uint8Array(body, "application/x-www-form-urlencoded"),
          }),
          limit,
        ),
    });

  /** Sends a request without a body; none where there is no address. */
  const get = (url: Option.Option<string>, limit: Duration.Duration) =>
    Option.match(url, {
      onNone: () => Effect.void,
      onSome: (address) => send(HttpClientRequest.get(address, { headers }), limit),
    });

  return { get, post };
};
