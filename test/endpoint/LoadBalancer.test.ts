import { assert, describe, it } from "@effect/vitest";
import { Effect, Latch } from "effect";

import { EncodedResponse } from "../../src/domain/EncodedResponse.ts";
import { success } from "../../src/domain/FunctionResponse.ts";
import { JobListener, listenerOf } from "../../src/domain/JobEvents.ts";
import { LoadBalancer } from "../../src/endpoint/LoadBalancer.ts";
import { ask } from "../support/http/HttpRequest.ts";
import { endpoint } from "../support/http/TestEndpoint.ts";

const response = EncodedResponse.of(success({}));

const handled = (handler: Effect.Effect<void>, events = listenerOf({})) =>
  Effect.flatMap(LoadBalancer, ({ handle }) =>
    Effect.withSpan(handle({ id: "1", input: null }), "request"),
  ).pipe(
    Effect.provide(
      LoadBalancer.layer(
        Effect.succeed(() => Effect.as(handler, response)),
        Latch.makeUnsafe(),
        events,
      ),
    ),
    Effect.withSpan("start"),
  );

describe("LoadBalancer", () => {
  it.effect("runs the handler in the span of its request", () =>
    Effect.gen(function* () {
      let name = "";
      const handler = Effect.map(Effect.orDie(Effect.currentSpan), (span) => {
        name = span.name;
      });
      yield* handled(handler);
      assert.strictEqual(name, "request");
    }),
  );

  it.effect("passes the events of a request to the listener", () =>
    Effect.gen(function* () {
      let lost = 0;
      const handler = Effect.map(JobListener, ({ notify }) => notify({ _tag: "GpuLost" }));
      yield* handled(handler, listenerOf({ GpuLost: () => void (lost += 1) }));
      assert.strictEqual(lost, 1);
    }),
  );

  it.live.each([
    ['{"args": [1.0], "other": 2.0}', '{"args": [1.0], "other": 2.0}'],
    ['{"input": {"args": [1.0]}}', '{"args": [1.0]}'],
  ])("passes the text of the request %s to the handler", ([body, expected]) =>
    Effect.gen(function* () {
      const texts: Array<string> = [];
      const { port } = yield* endpoint({}, ({ inputText }) =>
        Effect.sync(() => {
          texts.push(
            Buffer.from(inputText ?? [])
              .toString()
              .trim(),
          );
          return response;
        }),
      );
      assert.strictEqual((yield* ask(port, "/execute", { body })).status, 200);
      assert.deepStrictEqual(texts, [expected]);
    }).pipe(Effect.scoped),
  );
});
