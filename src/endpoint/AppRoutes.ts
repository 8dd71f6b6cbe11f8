import { Duration, Effect, type Latch, Option, SubscriptionRef } from "effect";
import { type HttpServerRequest, HttpServerResponse } from "effect/http";

import { type Availability, launchOutcome, type RunningApp } from "./Availability.ts";
import { Drain } from "./Drain.ts";
import { availabilityResponse, failureResponse, pingResponse } from "./HealthCheck.ts";
import { LiveApp } from "./LiveApp.ts";
import type { AppUnreachable } from "./http/AppProxy.ts";
import type { Fallback } from "./http/HttpGuard.ts";

/** How long to wait for the end of a process whose connection broke, to report its reason. */
const END_TIMEOUT = Duration.seconds(1);

type Request = HttpServerRequest.HttpServerRequest;

/** The path of a request as the app's server decodes it. */
const pathOf = ({ url }: Request): string => {
  const [path = ""] = url.split(/[?#]/, 1);
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
};

const executeRefused = HttpServerResponse.jsonUnsafe(
  {
    error:
      "/execute runs any code that it receives, so this deployed app does not accept it. Call the routes of the app, or set WORKER_ALLOW_EXECUTE=true on the endpoint.",
  },
  { status: 403 },
);

/** The app's process ended, or its server closed the connection. */
const unreachable = ({ ended }: RunningApp, { message }: AppUnreachable) =>
  Effect.map(Effect.timeoutOption(ended, END_TIMEOUT), (reason) =>
    HttpServerResponse.jsonUnsafe(
      {
        error: Option.match(reason, {
          onNone: () => `${message} Send the request again.`,
          onSome: (why) =>
            `The app's process ended before it responded: ${why} It is started again. Send the request again.`,
        }),
      },
      { status: 502 },
    ),
  );

/** Passes a request to an app when it is ready; responds with the reason if it failed. */
const forwardTo = Effect.fnUntraced(function* (
  state: SubscriptionRef.SubscriptionRef<Availability>,
  request: Request,
) {
  const outcome = yield* launchOutcome(state);
  if (outcome._tag === "Failed") return failureResponse(outcome);
  const { app } = outcome;
  return yield* Effect.catch(app.proxy.forward(request), (error) => unreachable(app, error));
});

const isHealthCheck = ({ method }: Request, path: string, healthPath: string): boolean =>
  path === healthPath && (method === "GET" || method === "HEAD");

const notSynced = HttpServerResponse.jsonUnsafe(
  {
    error:
      "There is no app yet: `rp flash dev` sends its source with POST /_runpod/sync. Functions are called with POST /execute.",
  },
  { status: 404 },
);

/** Passes requests to the app of a development session; none if there is no app yet. */
export const liveRoutes = Effect.gen(function* () {
  const drain = yield* Drain;
  const { current } = yield* LiveApp;
  const respond: Fallback = (request) =>
    Effect.flatMap(
      current,
      Option.match({
        onNone: () => Effect.succeedNone,
        onSome: (state) =>
          Effect.asSome(drain.trackAppRequest(drain.admit(forwardTo(state, request)))),
      }),
    );
  return respond;
});

/** The same behind a load balancer, with the health check at another path than /ping. */
export const balancedLiveRoutes = Effect.fnUntraced(function* (
  healthPath: string,
  ready: Latch.Latch,
) {
  const passToApp = yield* liveRoutes;
  const respond: Fallback = (request) =>
    isHealthCheck(request, pathOf(request), healthPath)
      ? Effect.asSome(pingResponse(ready))
      : Effect.asSome(
          Effect.map(
            passToApp(request),
            Option.getOrElse(() => notSynced),
          ),
        );
  return respond;
});

/** Responds to all requests of a deployed app with a load balancer. */
export const appRoutes = Effect.fnUntraced(function* (
  state: SubscriptionRef.SubscriptionRef<Availability>,
  { healthPath, allowsExecute }: { readonly healthPath: string; readonly allowsExecute: boolean },
): Effect.fn.Return<Fallback, never, Drain> {
  const drain = yield* Drain;
  const health = drain.admit(Effect.map(SubscriptionRef.get(state), availabilityResponse));
  const respond = (request: Request) => {
    const path = pathOf(request);
    if (isHealthCheck(request, path, healthPath)) return health;
    if (!allowsExecute && request.method === "POST" && /^\/+execute\/*$/.test(path)) {
      return Effect.succeed(executeRefused);
    }
    return drain.trackAppRequest(drain.admit(forwardTo(state, request)));
  };
  return (request) => Effect.asSome(respond(request));
});
