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

/** How long the body of a response may take in all. */
const BODY_LIMIT = Duration.minutes(2);

/** How long to wait for a part of the body of a failed response. */
const CLOSE_LIMIT = Duration.seconds(1);

/** Why there was no response, without the request, which contains the key. */
const reasonOf = ({ reason: { _tag, cause } }: HttpClientError.HttpClientError): string => {
  if (!(cause instanceof Error)) return _tag;
  return codeOf(cause, cause.message);
};

/** Describes the target of a redirect. */
const redirectReason = (from: string, location: string | undefined): string => {
  const to = URL.canParse(location ?? "", from) ? new URL(location ?? "", from) : undefined;
  if (to === undefined) return "it is a redirect without a valid location";
  const where = to.origin === new URL(from).origin ? "another path" : `another host, ${to.host}`;
  return `it redirects to ${where}. The key is only sent to the configured address: if the endpoint has moved there, pass the new address as --url`;
};

/** Reading a part of the body and stopping there closes the connection. */
const close = ({ stream }: HttpClientResponse.HttpClientResponse) =>
  stream.pipe(Stream.take(1), Stream.runDrain, Effect.timeout(CLOSE_LIMIT), Effect.ignore);

/**
 * Sends requests to the endpoint at `here`, and reads the JSON of the responses. Redirects are not followed.
 *
 * @returns a function of a request, and of the time within which its response has to begin
 */
export const exchange = (
  client: HttpClient.HttpClient,
  here: string,
  headers: Readonly<Record<string, string>>,
) => {
  const unusable = (reason: string) => new EndpointFailed({ url: here, isUnusable: true, reason });
  const unreachable = (reason: string) => new EndpointFailed({ url: here, reason });
  const late = (what: string) => () => Effect.fail(unreachable(`${what} in time`));

  const bodyOf = (response: HttpClientResponse.HttpClientResponse) =>
    jsonBody(response).pipe(
      Effect.timeoutOrElse({ duration: BODY_LIMIT, orElse: late("the response was not complete") }),
      Effect.catchTags({
        BodyUnusable: ({ reason }) => Effect.fail(unusable(reason)),
        HttpClientError: (error) => Effect.fail(unreachable(reasonOf(error))),
      }),
    );

  return Effect.fnUntraced(function* (
    request: HttpClientRequest.HttpClientRequest,
    limit: Duration.Duration,
  ) {
    const response = yield* client.execute(HttpClientRequest.setHeaders(request, headers)).pipe(
      Effect.timeoutOrElse({ duration: limit, orElse: late("there was no response") }),
      Effect.catchTag("HttpClientError", (error) => Effect.fail(unreachable(reasonOf(error)))),
    );
    const { status } = response;
    if (status >= 200 && status < 300) return yield* bodyOf(response);
    yield* close(response);
    if (status >= 300 && status < 400) {
      return yield* unusable(redirectReason(here, response.headers["location"]));
    }
    return yield* new EndpointFailed({ url: here, status, reason: "the request failed" });
  });
};
