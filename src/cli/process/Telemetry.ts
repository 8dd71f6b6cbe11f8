import { NodeHttpClient } from "@effect/platform-node";
import { ConfigProvider, Effect, Layer } from "effect";

import manifest from "../../../package.json" with { type: "json" };
import { Environment } from "../../settings/Environment.ts";
import { maskedSerialization } from "./TelemetryMasking.ts";

/** Telemetry is exported if any of these is set. */
const ENDPOINTS = [
  "OTEL_EXPORTER_OTLP_ENDPOINT",
  "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
  "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
  "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
];

/** Defaults of the OpenTelemetry specification. */
const DEFAULTS = {
  OTEL_TRACES_EXPORTER: "otlp",
  OTEL_METRICS_EXPORTER: "otlp",
  OTEL_LOGS_EXPORTER: "otlp",
  OTEL_SERVICE_NAME: "worker-tetra",
  OTEL_SERVICE_VERSION: manifest.version,
};

/** Exports traces, logs and metrics as configured by OpenTelemetry's variables. The exporter is loaded on demand. */
export const Telemetry = Layer.unwrap(
  Effect.gen(function* () {
    const environment = yield* Environment;
    if (!ENDPOINTS.some((name) => environment.has(name))) return Layer.empty;
    const { Otlp, OtlpSerialization } = yield* Effect.promise(() => import("effect/observability"));
    const serialization = environment.isSetTo("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
      ? OtlpSerialization.layerJson
      : OtlpSerialization.layerProtobuf;
    const masked = Layer.effect(
      OtlpSerialization.OtlpSerialization,
      Effect.map(OtlpSerialization.OtlpSerialization, maskedSerialization(environment.mask)),
    ).pipe(Layer.provide(serialization));
    return Otlp.layerFromConfig({ loggerMergeWithExisting: true }).pipe(
      Layer.provide([masked, NodeHttpClient.layerUndici]),
      Layer.provide(ConfigProvider.layerAdd(ConfigProvider.fromEnvRecord(DEFAULTS))),
    );
  }),
);
