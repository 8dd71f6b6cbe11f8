import { Effect, type Latch } from "effect";
import { HttpServerResponse } from "effect/http";

import * as Setting from "../settings/Setting.ts";
import type { Availability } from "./Availability.ts";

const HEALTH_CHECK_PATH = Setting.text({
  name: "HEALTH_CHECK_PATH",
  doc: "Path on which RunPod's load balancer requests the state of the worker: 200 ready, 204 starting, others unhealthy.",
  expected: "a path",
  fallback: "/ping",
});

/** The path of the health check; it starts with a slash. */
export const healthCheckPath = Effect.map(
  HEALTH_CHECK_PATH.value,
  (path) => `/${path.trim().replace(/^\/+/, "")}`,
);

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
