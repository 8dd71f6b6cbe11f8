import { Duration, Effect, Option } from "effect";
import { HttpBody, HttpClient, HttpClientRequest } from "effect/http";

import { PostFailed, transportReason } from "./RequestFailed.ts";

/** The requests that report to RunPod. Only the status of the response matters. */
export const makePosts = (
  client: HttpClient.HttpClient,
  headers: Readonly<Record<string, string>>,
) => {
  const send = (request: HttpClientRequest.HttpClientRequest, timeout: Duration.Duration) =>
    client.execute(request).pipe(
      Effect.flatMap((response) =>
        // The body is read so that the connection can be reused.
        Effect.as(Effect.ignore(response.arrayBuffer), response.status),
      ),
      Effect.catchTag("HttpClientError", (error) =>
        Effect.fail(new PostFailed({ reason: transportReason(error) })),
      ),
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () =>
          Effect.fail(
            new PostFailed({
              reason: `no response within ${Duration.toSeconds(timeout)} seconds`,
            }),
          ),
      }),
      Effect.flatMap((status) =>
        status >= 200 && status < 300
          ? Effect.void
          : Effect.fail(new PostFailed({ status, reason: `HTTP ${status}` })),
      ),
    );

  const post = (
    url: Option.Option<string>,
    jobId: string,
    body: Uint8Array,
    timeout: Duration.Duration,
  ): Effect.Effect<void, PostFailed> =>
    Option.match(url, {
      onNone: () => Effect.fail(new PostFailed({ status: 404, reason: "no URL is set" })),
      onSome: (target) =>
        send(
          HttpClientRequest.post(target, {
            headers: { ...headers, "x-request-id": jobId, charset: "utf-8" },
            // RunPod expects JSON with this content type.
            body: HttpBody.uint8Array(body, "application/x-www-form-urlencoded"),
          }),
          timeout,
        ),
    });

  /** Sends a request without a body; does nothing without a URL. */
  const get = (url: Option.Option<string>, timeout: Duration.Duration) =>
    Option.match(url, {
      onNone: () => Effect.void,
      onSome: (target) => send(HttpClientRequest.get(target, { headers }), timeout),
    });

  return { get, post };
};
