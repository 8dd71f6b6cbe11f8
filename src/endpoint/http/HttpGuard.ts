import { createHash, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";

import { ByteSize, Cause, Effect, Option, Redacted } from "effect";
import {
  HttpEffect,
  HttpRouter,
  HttpServerError,
  HttpServerRequest,
  HttpServerResponse,
} from "effect/http";
import { HttpApiError } from "effect/http-api";

import { boundUnread, hasSeveralHosts, isPipelined } from "./Connection.ts";
import { isLoopback } from "./Loopback.ts";
import { withLimitedBody } from "./RequestBody.ts";

/** Routes that need no key, by method and path. All other paths need it, whether they exist or not. */
const PUBLIC: ReadonlySet<string> = new Set(["GET /ping", "GET /docs"]);

/** RunPod's limits for a body by route, and the limit for all other routes. */
const LIMITS: ReadonlyMap<string, ByteSize.ByteSize> = new Map([
  ["POST /run", ByteSize.mebibytes(10)],
  ["POST /runsync", ByteSize.mebibytes(20)],
  ["POST /execute", ByteSize.mebibytes(30)],
  ["POST /_runpod/sync", ByteSize.mebibytes(30)],
]);
const OTHER_LIMIT = ByteSize.mebibytes(1);

/** Who may send requests. */
export interface Access {
  /** The address or name that the server listens on. */
  readonly host: string;
  /** Accepted keys, required for all but public routes. Without any, no key is required. */
  readonly keys: ReadonlyArray<Redacted.Redacted<string>>;
  /** Whether the server runs behind RunPod's gateway, which checks keys and has its own host names. */
  readonly isBehindGateway: boolean;
}

const refusal = (status: number, error: string) =>
  HttpServerResponse.jsonUnsafe({ error }, { status });

/** The matched route, such as `POST /run`, without the `/v2/:endpoint` prefix. */
const nameOf = ({ method, path, prefix }: HttpRouter.Route<unknown, unknown>): string =>
  `${method} ${path.slice(Option.getOrElse(prefix, () => "").length)}`;

const digestOf = (text: string) => createHash("sha256").update(text).digest();

/**
 * Compares with every key in constant time. Effect's `HttpApiSecurity` can't replace this: it checks only routes of an
 * `HttpApi`, so that clients without a key could find out which routes exist; it runs after the other checks of this
 * guard, whose status codes would take precedence; and it does not compare keys.
 */
const hasKey = (
  { headers }: HttpServerRequest.HttpServerRequest,
  { keys }: Pick<Access, "keys">,
): boolean => {
  const digest = digestOf(/^bearer +(.+)/i.exec(headers["authorization"] ?? "")?.[1] ?? "");
  const matches = keys.map((key) => timingSafeEqual(digest, digestOf(Redacted.value(key))));
  return matches.includes(true);
};

/** The URL of a Host header; undefined if the header is invalid. */
const addressOf = (host: string): URL | undefined => {
  const address = URL.parse(`http://${host}`);
  return address !== null && address.href === `${address.origin}/` ? address : undefined;
};

/**
 * Whether the Host header names this server. A web page whose domain resolves to this server (DNS rebinding) sends its
 * own domain. With keys, or with an IP address as host, no check is needed: such a page has neither.
 */
const isOwnHost = (address: URL | undefined, { host, keys, isBehindGateway }: Access): boolean => {
  if (isBehindGateway) return true;
  if (address === undefined) return false;
  const name = address.hostname.replaceAll(/[[\]]/g, "");
  if (isLoopback(name) || name.endsWith(".localhost") || name === host.toLowerCase()) return true;
  return !isLoopback(host) && (keys.length > 0 || isIP(name) !== 0);
};

/** Whether a browser reports that another site sent the request; other clients do not send these headers. */
const isOtherSite = (
  { headers }: HttpServerRequest.HttpServerRequest,
  address: URL | undefined,
): boolean => {
  const { origin, "sec-fetch-site": site = "none" } = headers;
  if (site !== "none" && site !== "same-origin") return true;
  if (origin === undefined) return false;
  return address === undefined || URL.parse(origin)?.origin !== address.origin;
};

/** Schema would reject a wrong type without advice, and accept a missing one, which web pages can send. */
const hasWrongContentType = ({ headers, method }: HttpServerRequest.HttpServerRequest): boolean => {
  if (method !== "POST") return false;
  const { "content-type": type, "content-length": length = "0" } = headers;
  if (type === undefined) return length !== "0" || headers["transfer-encoding"] !== undefined;
  const [name = ""] = type.split(";", 1);
  return name.trim().toLowerCase() !== "application/json";
};

/**
 * The response if a request must be rejected, or else undefined. Anyone who may send requests can run code on this
 * machine.
 */
const refusalOf = (
  request: HttpServerRequest.HttpServerRequest,
  access: Access,
  { isPublic = false, isForApp = false } = {},
): HttpServerResponse.HttpServerResponse | undefined => {
  if (hasSeveralHosts(request)) {
    return refusal(400, "The request has more than one Host header: send one.");
  }
  // Servers disagree about the path of a URL such as ftp://host/path; Effect has replaced http URLs by their path.
  if (!request.url.startsWith("/") && request.url !== "*") {
    return refusal(400, "The request target must be a path that starts with /.");
  }
  if (isPipelined(request)) {
    return refusal(
      429,
      "An earlier request on this connection has no response yet: send one request at a time, or open another connection.",
    ).pipe(HttpServerResponse.setHeader("connection", "close"));
  }
  if (!isPublic && access.keys.length > 0 && !hasKey(request, access)) {
    return refusal(
      401,
      "The API key is missing or wrong: send it as Authorization: Bearer <key>.",
    ).pipe(HttpServerResponse.setHeader("www-authenticate", "Bearer"));
  }
  const { host = "" } = request.headers;
  const address = addressOf(host);
  if (!isOwnHost(address, access)) {
    return refusal(
      403,
      `The host ${JSON.stringify(host)} is not allowed. Use the address of the endpoint or localhost, or set WORKER_SERVE_KEY to allow other host names.`,
    );
  }
  // The app itself decides about other origins and types of bodies.
  if (isForApp) return undefined;
  if (isOtherSite(request, address)) {
    return refusal(403, "Cross-origin requests from web pages are not allowed.");
  }
  return hasWrongContentType(request)
    ? refusal(415, "The body must be JSON: send the header Content-Type: application/json.")
    : undefined;
};

/** The response to a request that the router or a schema rejects; none for other errors. */
const rejectionOf = (cause: Cause.Cause<unknown>) => {
  const error = Cause.squash(cause);
  if (HttpApiError.HttpApiSchemaError.is(error)) {
    return Option.some(
      refusal(400, `Invalid request: ${error.cause.message.replaceAll("\n", " ")}`),
    );
  }
  if (!HttpServerError.isHttpServerError(error)) return Option.none();
  const { reason } = error;
  if (reason._tag !== "RequestParseError") return Option.none();
  return Option.some(refusal(400, "The request body is incomplete."));
};

/** Effect responds with an empty 503 to requests that are aborted at shutdown; this adds a message. */
const explainStop = (
  _: HttpServerRequest.HttpServerRequest,
  response: HttpServerResponse.HttpServerResponse,
) =>
  Effect.succeed(
    response.status === 503 && response.body._tag === "Empty"
      ? refusal(503, "The worker stopped before it could respond. Send the request again.").pipe(
          HttpServerResponse.setHeader("retry-after", "5"),
        )
      : response,
  );

/** Checks each request of a route (key, host, origin, size), and turns errors into responses with a message. */
export const routeGuard = (access: Access) =>
  HttpRouter.middleware(
    Effect.succeed((handled) =>
      Effect.gen(function* () {
        const request = yield* HttpServerRequest.HttpServerRequest;
        const { route } = yield* HttpRouter.RouteContext;
        const name = nameOf(route);
        const refused = refusalOf(request, access, { isPublic: PUBLIC.has(name) });
        if (refused !== undefined) return refused;
        return yield* withLimitedBody(handled, LIMITS.get(name) ?? OTHER_LIMIT).pipe(
          Effect.catchCause((cause) =>
            Option.match(rejectionOf(cause), {
              onNone: () => Effect.failCause(cause),
              onSome: Effect.succeed,
            }),
          ),
          Effect.tap((response) => boundUnread(request, response)),
          HttpEffect.withPreResponseHandler(explainStop),
        );
      }),
    ),
  ).layer;

/** Responds to requests that no route of the server matches; none if there is nothing to respond to them. */
export type Fallback = (
  request: HttpServerRequest.HttpServerRequest,
) => Effect.Effect<Option.Option<HttpServerResponse.HttpServerResponse>>;

const unknownRoute = ({ method, url }: HttpServerRequest.HttpServerRequest) =>
  refusal(404, `Unknown route: ${method} ${url}. See /docs for all routes.`);

/**
 * Applies the same checks to unknown routes, so that clients without the key can't find out which routes exist. Requests
 * for an app are passed to the fallback.
 */
export const unknownRouteGuard = (
  access: Access,
  fallback: Fallback = () => Effect.succeedNone,
) => {
  const respond = Effect.fnUntraced(function* (request: HttpServerRequest.HttpServerRequest) {
    const refused = refusalOf(request, access, { isForApp: true });
    if (refused !== undefined) return refused;
    return Option.getOrElse(
      yield* Effect.interruptible(fallback(request)),
      () => refusalOf(request, access) ?? unknownRoute(request),
    );
  });
  return HttpRouter.middleware(
    (handled) =>
      Effect.catchCause(handled, (cause) => {
        const error = Cause.squash(cause);
        return HttpServerError.isHttpServerError(error) && error.reason._tag === "RouteNotFound"
          ? HttpEffect.withPreResponseHandler(respond(error.reason.request), explainStop)
          : Effect.failCause(cause);
      }),
    { global: true },
  );
};
