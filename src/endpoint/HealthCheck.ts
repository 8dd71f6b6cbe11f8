import { Effect, type Latch } from "effect";
import { HttpServerResponse } from "effect/http";

import type { Availability, FailedApp } from "./Availability.ts";

/** The response of an app that can't be served. */
export const failureResponse = ({
  failure: { phase, reason, advice, traceback },
}: FailedApp): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.jsonUnsafe(
    { error: reason, phase, reason, advice, traceback },
    { status: 500 },
  );

/** The response to the health check of an app. */
export const availabilityResponse = (
  state: Availability,
): HttpServerResponse.HttpServerResponse => {
  switch (state._tag) {
    case "Starting":
      return HttpServerResponse.empty({ status: 204 });
    case "Ready":
      return HttpServerResponse.empty({ status: 200 });
    case "Failed":
      return failureResponse(state);
  }
};

/** The response to the health check of a worker without an app. */
export const pingResponse = (ready: Latch.Latch) =>
  Effect.sync(() => HttpServerResponse.empty({ status: ready.isOpen() ? 200 : 204 }));
