import { timingSafeEqual } from "node:crypto";

import { Cause, Effect, Option, Redacted } from "effect";
import { HttpRouter, HttpServerError, HttpServerRequest, HttpServerResponse } from "effect/http";
import { HttpApiError } from "effect/http-api";

import { withLimitedBody } from "./RequestBody.ts";

const MIB = 1024 * 1024;

/** RunPod's limits of what a client may send, by the last part of the path, in bytes; and of all else. */
const LIMITS = new Map([
  ["run", 10 * MIB],
  ["runsync", 20 * MIB],
  ["execute", 30 * MIB],
]);
const OTHER_LIMIT = MIB;

/** What is wrong with a body is said in so many characters. */
const LONGEST_REASON = 500;

/** Who may send requests. */
export interface Access {
  /** Every request but pings and the page about the routes must bring it. */
  readonly key: Option.Option<Redacted.Redacted<string>>;
  /** Only programs of this machine can connect, and they say so in the Host header. */
  readonly isLoopback: boolean;
}

const refusal = (status: number, error: string) =>
  HttpServerResponse.jsonUnsafe({ error }, { status });

/** A host without its port. */
const hostOf = (authority: string): string =>
  URL.canParse(`http://${authority}`) ? new URL(`http://${authority}`).hostname : "";

const isLocalName = (host: string): boolean =>
  host === "localhost" ||
  host.endsWith(".localhost") ||
  host === "[::1]" ||
  /^127(\.\d+){3}$/.test(host);

const isSame = (a: string, b: string): boolean => {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
};

/**
 * Why a request is not for us, if it isn't. Whoever may send one runs code on this machine, so pages in a browser
 * must not: they are known by their Origin, and by a Host that only points here.
 */
const objection = (
  { headers, url }: HttpServerRequest.HttpServerRequest,
  { key, isLoopback }: Access,
): HttpServerResponse.HttpServerResponse | undefined => {
  const { host = "", origin, authorization = "" } = headers;
  if (isLoopback && !isLocalName(hostOf(host))) {
    return refusal(403, `This endpoint serves its own machine only, and ${host} is not its name.`);
  }
  if (origin !== undefined && hostOf(origin.replace(/^\w+:\/\//, "")) !== hostOf(host)) {
    return refusal(403, "Pages of other sites may not use this endpoint.");
  }
  if (Option.isNone(key) || /\/(ping|docs)(\?|$)/.test(url)) return undefined;
  return isSame(authorization, `Bearer ${Redacted.value(key.value)}`)
    ? undefined
    : refusal(401, "The API key is missing or wrong: send it as Authorization: Bearer <key>.");
};

/** What Schema would refuse without saying what to do; a body that names no type passes. */
const isForeign = ({ headers, method }: HttpServerRequest.HttpServerRequest): boolean =>
  method === "POST" && !/^$|^application\/json\b/i.test(headers["content-type"] ?? "");

const limitOf = (url: string): number => {
  const [path = ""] = url.split("?", 1);
  return LIMITS.get(path.slice(path.lastIndexOf("/") + 1)) ?? OTHER_LIMIT;
};

/** What the router and the schemas have against a request, in words. */
const inWords = (cause: Cause.Cause<unknown>) => {
  const error = Cause.squash(cause);
  if (HttpApiError.HttpApiSchemaError.is(error)) {
    return Option.some(
      refusal(
        400,
        `The request can't be read: ${error.cause.message.replaceAll("\n", " ").slice(0, LONGEST_REASON)}`,
      ),
    );
  }
  if (!HttpServerError.isHttpServerError(error)) return Option.none();
  const { reason } = error;
  if (reason._tag === "RouteNotFound") {
    const { method, url } = reason.request;
    return Option.some(
      refusal(404, `There is no route ${method} ${url}. The page /docs lists what there is.`),
    );
  }
  if (reason._tag !== "RequestParseError") return Option.none();
  return Option.some(refusal(400, "The request could not be read to its end."));
};

/** What every request goes through: who may send it, how large it may be, and refusals in words. */
export const httpGuard = (access: Access) =>
  HttpRouter.middleware(
    Effect.succeed((handled) =>
      Effect.gen(function* () {
        const request = yield* HttpServerRequest.HttpServerRequest;
        const objected = objection(request, access);
        if (objected !== undefined) return objected;
        if (isForeign(request)) {
          return refusal(
            415,
            "The body must be JSON: send the header Content-Type: application/json.",
          );
        }
        return yield* withLimitedBody(handled, limitOf(request.url)).pipe(
          Effect.catchCause((cause) =>
            Option.match(inWords(cause), {
              onNone: () => Effect.failCause(cause),
              onSome: Effect.succeed,
            }),
          ),
        );
      }),
    ),
    { global: true },
  );
