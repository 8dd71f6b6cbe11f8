import { Duration, Effect, Stream } from "effect";
import {
  type HttpClient,
  type HttpClientError,
  HttpClientRequest,
  type HttpClientResponse,
} from "effect/http";

import { codeOf } from "../../platform/ErrorCode.ts";
import { EndpointFailed } from "./EndpointError.ts";
import { jsonBody } from "./ResponseBody.ts";

/** Timeout for a whole body. */
const BODY_TIMEOUT = Duration.minutes(2);

/** Timeout for closing a failed response. */
const CLOSE_TIMEOUT = Duration.seconds(1);

/** Why there was no response. Excludes the request, which contains the key. */
const reasonOf = ({ reason: { _tag, cause } }: HttpClientError.HttpClientError): string => {
  if (!(cause instanceof Error)) return _tag;
  return codeOf(cause, cause.message);
};

/** Describes the target of a redirect. */
const redirectReason = (from: string, location: string | undefined): string => {
  const to = URL.canParse(location ?? "", from) ? new URL(location ?? "", from) : undefined;
  if (to === undefined) return "a redirect without a valid location";
  const where = to.origin === new URL(from).origin ? "another path" : `another host, ${to.host}`;
  return `it redirects to ${where}. The API key is only sent to the configured URL: if the endpoint has moved, pass the new URL as --url`;
};

/** Closes the connection by reading only the first part of the body. */
const close = ({ stream }: HttpClientResponse.HttpClientResponse) =>
  stream.pipe(Stream.take(1), Stream.runDrain, Effect.timeout(CLOSE_TIMEOUT), Effect.ignore);

/**
 * Sends requests to an endpoint and reads the JSON of the responses. Redirects are not followed.
 *
 * @returns a function of a request and of the timeout for the start of its response
 */
export const exchange = (
  client: HttpClient.HttpClient,
  endpointUrl: string,
  headers: Readonly<Record<string, string>>,
) => {
  const invalidResponse = (reason: string) =>
    new EndpointFailed({ url: endpointUrl, isInvalid: true, reason });
  const unreachable = (reason: string) => new EndpointFailed({ url: endpointUrl, reason });
  const timedOut = (what: string) => () => Effect.fail(unreachable(`${what} in time`));

  const bodyOf = (response: HttpClientResponse.HttpClientResponse) =>
    jsonBody(response).pipe(
      Effect.timeoutOrElse({
        duration: BODY_TIMEOUT,
        orElse: timedOut("the response was not complete"),
      }),
      Effect.catchTags({
        BodyInvalid: ({ reason }) => Effect.fail(invalidResponse(reason)),
        HttpClientError: (error) => Effect.fail(unreachable(reasonOf(error))),
      }),
    );

  return Effect.fnUntraced(function* (
    request: HttpClientRequest.HttpClientRequest,
    timeout: Duration.Duration,
  ) {
    const response = yield* client.execute(HttpClientRequest.setHeaders(request, headers)).pipe(
      Effect.timeoutOrElse({ duration: timeout, orElse: timedOut("there was no response") }),
      Effect.catchTag("HttpClientError", (error) => Effect.fail(unreachable(reasonOf(error)))),
    );
    const { status } = response;
    if (status >= 200 && status < 300) return yield* bodyOf(response);
    yield* close(response);
    if (status >= 300 && status < 400) {
      return yield* invalidResponse(redirectReason(endpointUrl, response.headers["location"]));
    }
    return yield* new EndpointFailed({ url: endpointUrl, status, reason: "the request failed" });
  });
};
