import { assert, describe, it } from "@effect/vitest";
import { Effect, Fiber, Layer } from "effect";
import { HttpClient, HttpClientError } from "effect/http";
import { TestClock } from "effect/testing";

import { postToWebhook } from "../../../src/endpoint/jobs/JobWebhook.ts";
import { LocalJob } from "../../../src/endpoint/jobs/LocalJob.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";

describe("the webhook of a job", () => {
  it.effect(
    "is not in the log when it fails, since anyone who knows its URL can post to it",
    () => {
      const logs = keptLogs();
      const unreachable = HttpClient.make((request) =>
        Effect.fail(
          new HttpClientError.HttpClientError({
            reason: new HttpClientError.TransportError({
              request,
              cause: new Error("connect ECONNREFUSED"),
            }),
          }),
        ),
      );
      return Effect.gen(function* () {
        const posting = yield* Effect.forkChild(
          postToWebhook(
            "https://hooks.example/services/T0001/B0002",
            new LocalJob(
              {
                id: "job",
                status: "COMPLETED",
                delayTime: 0,
                executionTime: 1,
                workerId: "worker",
                retries: 0,
              },
              undefined,
            ),
          ),
        );
        yield* TestClock.adjust("1 minute");
        yield* Fiber.join(posting);
        assert.lengthOf(logs.warnings(), 1);
        assert.include(logs.warnings()[0], "job");
        assert.include(logs.warnings()[0], "ECONNREFUSED");
        assert.notInclude(logs.warnings()[0], "T0001");
      }).pipe(
        Effect.provide(Layer.merge(logs.layer, Layer.succeed(HttpClient.HttpClient, unreachable))),
      );
    },
  );
});
