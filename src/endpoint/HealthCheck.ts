import { Effect, type Latch } from "effect";
import { HttpServerResponse } from "effect/http";

import type { Availability } from "./Availability.ts";

/** The response to the health check of an app. */
export const healthOf = (state: Availability): HttpServerResponse.HttpServerResponse => {
  switch (state._tag) {
    case "Starting":
      return HttpServerResponse.empty({ status: 204 });
    case "Ready":
      return HttpServerResponse.empty({ status: 200 });
    case "Failed":
      return HttpServerResponse.jsonUnsafe(
        { error: state.failure.reason, ...state.failure },
        { status: 500 },
      );
  }
};

/** The response to the health check of a worker without an app. */
export const pingResponse = (ready: Latch.Latch) =>
  Effect.sync(() => HttpServerResponse.empty({ status: ready.isOpen() ? 200 : 204 }));
