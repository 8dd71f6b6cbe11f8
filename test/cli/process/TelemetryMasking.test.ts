import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer } from "effect";
import { HttpBody, HttpClient, HttpClientResponse } from "effect/http";
import { Otlp, OtlpSerialization } from "effect/observability";

import { maskedSerialization } from "../../../src/cli/process/TelemetryMasking.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { leaksOf } from "../../support/values/Leaks.ts";

const KEY = "rpa_Zq81mXw3Vt60bLk9Ys";

describe("maskedSerialization", () => {
  it.each(["traces", "metrics", "logs"] as const)("masks secrets anywhere in %s", (kind) => {
    const sent: Array<unknown> = [];
    const body = HttpBody.raw(null);
    const keep = (data: unknown) => {
      sent.push(data);
      return body;
    };
    const { mask } = Environment.make({ RUNPOD_API_KEY: KEY });
    const document = {
      text: KEY,
      list: [KEY, [`a ${KEY}`], { deep: { deeper: KEY } }],
      nothing: null,
      number: 5,
      absent: undefined,
      bare: Object.assign(Object.create(null), { text: KEY }),
    };
    const serialization = maskedSerialization(mask)({ traces: keep, metrics: keep, logs: keep });
    // Not a real document: the function accepts any object.
    Reflect.apply(serialization[kind], undefined, [document]);
    assert.deepStrictEqual(sent, [
      {
        text: "***",
        list: ["***", ["a ***"], { deep: { deeper: "***" } }],
        nothing: null,
        number: 5,
        absent: undefined,
        bare: Object.assign(Object.create(null), { text: "***" }),
      },
    ]);
  });

  it.live("masks secrets in attributes, messages, events and names", () => {
    const sent: Array<string> = [];
    const client = HttpClient.make((request) => {
      const { body } = request;
      sent.push(body._tag === "Uint8Array" ? Buffer.from(body.body).toString() : "");
      return Effect.succeed(HttpClientResponse.fromWeb(request, new Response("{}")));
    });
    const { mask } = Environment.make({ RUNPOD_API_KEY: KEY });
    const serialization = Layer.effect(
      OtlpSerialization.OtlpSerialization,
      Effect.map(OtlpSerialization.OtlpSerialization, maskedSerialization(mask)),
    ).pipe(Layer.provide(OtlpSerialization.layerJson));
    const telemetry = Otlp.layer({
      baseUrl: "http://collector",
      resource: { serviceName: "tests" },
    }).pipe(Layer.provide([serialization, Layer.succeed(HttpClient.HttpClient, client)]));
    return Effect.logInfo(`a message with ${KEY}`).pipe(
      Effect.andThen(Effect.die(new Error(`failed with ${KEY}`))),
      Effect.withSpan(`span of ${KEY.slice(0, 12)}`, { attributes: { key: KEY, list: [KEY] } }),
      Effect.exit,
      Effect.provide(telemetry),
      Effect.map(() => {
        const text = sent.join("");
        assert.include(text, "a message with ***");
        assert.include(text, "failed with ***");
        assert.include(text, "span of ***");
        assert.isEmpty(leaksOf(KEY, text));
      }),
    );
  });
});
