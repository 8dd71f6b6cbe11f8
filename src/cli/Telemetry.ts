import { NodeHttpClient } from "@effect/platform-node";
import { Effect, Layer } from "effect";

import manifest from "../../package.json" with { type: "json" };
import { Environment } from "../settings/Environment.ts";

/** Somebody wants to have it when one of these is set. */
const ENDPOINTS = [
  "OTEL_EXPORTER_OTLP_ENDPOINT",
  "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
  "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
  "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
];

/**
 * Traces, logs and metrics by OpenTelemetry's protocol, as its usual variables say. What nobody wants is not
 * even loaded.
 */
export const Telemetry = Layer.unwrap(
  Effect.gen(function* () {
    const environment = yield* Environment;
    if (!ENDPOINTS.some((name) => environment.has(name))) return Layer.empty;
    const { Otlp, OtlpSerialization } = yield* Effect.promise(() => import("effect/observability"));
    const serialization = environment.isSetTo("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
      ? OtlpSerialization.layerJson
      : OtlpSerialization.layerProtobuf;
    return Otlp.layerFromConfig({
      resource: { serviceName: "worker-tetra", serviceVersion: manifest.version },
      loggerMergeWithExisting: true,
    }).pipe(Layer.provide([serialization, NodeHttpClient.layerUndici]));
  }),
);
