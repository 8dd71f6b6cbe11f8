import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Schema } from "effect";
import { HttpClient, HttpClientResponse } from "effect/http";

import { JobQueue } from "../../src/queue/JobQueue.ts";
import { Webhooks } from "../../src/queue/runpod/Webhooks.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { startWorker, echo } from "../support/fakes/RunningQueueWorker.ts";

describe.concurrent("a worker that polls for jobs", () => {
  const INVALID_BODIES: ReadonlyArray<readonly [string, string, string?]> = [
    ["HTML", "<html>busy</html>", "text/html"],
    ["cut JSON", '{"id": "a", "inp'],
    ["an empty body", ""],
    ["a number", "7"],
    ["null", "null"],
    ["a job without an id", '{"input": 1}'],
    ["an empty list", "[]"],
  ];
  it.live.each(INVALID_BODIES)(
    "ignores a response with %s, and takes the next job",
    ([, text, contentType]) =>
      Effect.gen(function* () {
        const { service } = yield* startWorker(echo);
        service.answer(text, contentType);
        const id = service.submit("after");
        assert.strictEqual((yield* service.result(id)).body["output"], "after");
      }).pipe(Effect.scoped),
  );

  it.live("logs an invalid job without any part of a secret in it, wherever it is truncated", () =>
    Effect.gen(function* () {
      const secret = "a-secret-of-this-worker-0123456789";
      const { service, logs } = yield* startWorker(echo, {
        variables: { THIRD_PARTY_TOKEN: secret },
      });
      for (let before = 150; before < 200; before += 7) {
        service.answer(JSON.stringify({ input: "x".repeat(before) + secret }));
      }
      yield* service.result(service.submit("after"));
      const shown = logs.errors().join("\n");
      assert.include(shown, "invalid job");
      assert.notInclude(shown, secret.slice(0, 9));
    }).pipe(Effect.scoped),
  );

  it.live.each<readonly [number, number]>([
    [400, 400],
    [401, 400],
    [404, 400],
    [429, 4000],
    [500, 400],
    [503, 400],
  ])(
    "polls again after a pause when the response has status %i",
    ([status, pause]) =>
      Effect.gen(function* () {
        const { service } = yield* startWorker(echo, {}, ({ faults }) =>
          faults("take", (number) => (number === 0 ? { kind: "status", status } : undefined)),
        );
        yield* service.result(service.submit("after"));
        const [first, second] = service.requests.filter(({ route }) => route === "take");
        assert.isAtLeast((second?.at ?? 0) - (first?.at ?? 0), pause);
      }).pipe(Effect.scoped),
    15_000,
  );

  it.live("polls at most twice a second when responses are empty and immediate", () =>
    Effect.gen(function* () {
      const { service } = yield* startWorker(echo, { hold: 0 });
      yield* service.seen("take", 4);
      const [first, , , fourth] = service.requests.filter(({ route }) => route === "take");
      assert.isAtLeast((fourth?.at ?? 0) - (first?.at ?? 0), 1500);
    }).pipe(Effect.scoped),
  );

  it.live("runs the valid jobs of a list, after a connection reset and a truncated response", () =>
    Effect.gen(function* () {
      const { service } = yield* startWorker(echo, {}, ({ faults }) =>
        faults("take", (number) =>
          number === 0
            ? { kind: "reset" }
            : number === 1
              ? { kind: "cut", body: '{"id": "cut"' }
              : undefined,
        ),
      );
      service.answer('[{"id": "a", "input": 1}, {"input": 2}, {"id": 3}, {"id": "b", "input": 4}]');
      yield* Effect.forEach(["a", "b"], service.result);
      assert.lengthOf(service.results, 2);
    }).pipe(Effect.scoped),
  );
});

describe("a job that is too complex", () => {
  const COMPLEX = [
    ["nested lists", `{"a":${"[".repeat(3_000_000)}${"]".repeat(3_000_000)}}`],
    ["700,000 arguments", `{"kwargs":{${'"k":1,'.repeat(700_000)}"k":1}}`],
    ["a million lists", `{"args":[${"[],".repeat(1_000_000)}[]]}`],
  ] as const;
  it.live.each(COMPLEX)(
    "with %s fails with the limit in its error, and the other jobs of the response run",
    ([, input]) =>
      Effect.gen(function* () {
        const { service } = yield* startWorker(echo);
        service.answer(
          `[{"id":"a","input":1},{"input":${input},"webhook":null,"id":"b"},{"id":"c","input":3}]`,
        );
        assert.strictEqual((yield* service.result("a")).body["output"], 1);
        assert.strictEqual((yield* service.result("c")).body["output"], 3);
        assert.match(
          String((yield* service.result("b")).body["error"]),
          /too complex: .*more|deeper/,
        );
      }).pipe(Effect.scoped),
    30_000,
  );

  it.live(
    "fails if it is the only one in the response, and is only logged if it has no id",
    () =>
      Effect.gen(function* () {
        const { service, logs } = yield* startWorker(echo);
        service.answer(`{"input":${"[".repeat(1000)}${"]".repeat(1000)}}`);
        service.answer(`{"id":"b","input":${"[".repeat(1000)}${"]".repeat(1000)}}`);
        assert.include(String((yield* service.result("b")).body["error"]), "100 levels");
        assert.lengthOf(service.results, 1);
        assert.lengthOf(logs.errors(), 2);
        assert.include(logs.errors()[0], "too complex");
      }).pipe(Effect.scoped),
    30_000,
  );
});

/** A queue whose service sends this response to every take. */
const respondingWith = (status: number, text: string) =>
  JobQueue.layerNoDeps.pipe(
    Layer.provide(Webhooks.layer),
    Layer.provide([
      Environment.layerOf({ RUNPOD_WEBHOOK_GET_JOB: "http://localhost/job-take/$ID" }),
      Layer.succeed(
        HttpClient.HttpClient,
        HttpClient.make((request) =>
          Effect.succeed(
            HttpClientResponse.fromWeb(
              request,
              new Response(text === "" ? null : text, { status }),
            ),
          ),
        ),
      ),
    ]),
  );

const taking = Effect.flatMap(JobQueue, (queue) => queue.take(1, false));

describe("JobQueue", () => {
  it.effect.prop(
    "reads valid jobs or nothing from any JSON document",
    { document: Schema.Json },
    ({ document }) =>
      Effect.gen(function* () {
        const { jobs, invalid } = yield* taking;
        const list = Array.isArray(document) ? document : [document];
        assert.isAtMost(jobs.length + invalid.length, list.length);
        for (const { id } of jobs) assert.isNotEmpty(id);
      }).pipe(Effect.provide(respondingWith(200, JSON.stringify(document)))),
  );

  it.effect.prop(
    "returns nothing or a failure with the status for any text and any error status",
    {
      text: Schema.String,
      status: Schema.Int.check(Schema.isBetween({ minimum: 201, maximum: 599 })),
    },
    ({ text, status }) =>
      Effect.gen(function* () {
        const isEmpty = [204, 205, 304].includes(status);
        const outcome = yield* Effect.result(
          Effect.provide(taking, respondingWith(status, isEmpty ? "" : text)),
        );
        if (outcome._tag === "Success") assert.include([204, 400], status);
        else assert.include(outcome.failure.message, String(status));
      }),
  );
});
