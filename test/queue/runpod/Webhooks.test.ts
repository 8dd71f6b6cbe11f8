import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Option, Schema } from "effect";

import { expand, Webhooks } from "../../../src/queue/runpod/Webhooks.ts";
import { Environment } from "../../../src/settings/Environment.ts";

const webhooks = (variables: Readonly<Record<string, string>>) =>
  Effect.map(Webhooks, (found) => found).pipe(
    Effect.provide(Layer.provide(Webhooks.layer, Environment.layerOf(variables))),
  );

const url = (webhook: Option.Option<string>) => new URL(Option.getOrThrow(webhook));

describe("Webhooks", () => {
  it.effect.prop(
    "keep the parameters of a URL, add others, and encode any id",
    {
      id: Schema.String.check(Schema.isNonEmpty()),
      worker: Schema.String.check(Schema.isNonEmpty()),
      had: Schema.Boolean,
    },
    ({ id, worker, had }) =>
      Effect.sync(() => {
        if (!id.isWellFormed() || !worker.isWellFormed()) return;
        const template = `http://localhost/done/$RUNPOD_POD_ID/$ID${had ? "?gpu=A+B" : ""}`;
        const { pathname, searchParams } = new URL(
          expand(template, { workerId: worker, jobId: id }, { isStream: "true" }),
        );
        if ([id, worker].some((name) => name === "." || name === "..")) return;
        const parts = pathname.split("/").slice(2).map(decodeURIComponent);
        assert.deepStrictEqual(parts, [worker, id]);
        assert.strictEqual(searchParams.get("isStream"), "true");
        assert.strictEqual(searchParams.get("gpu"), had ? "A B" : null);
      }),
  );

  it.effect(
    "have a URL for one job and one for a batch, with a parameter for whether the worker is busy",
    () =>
      Effect.gen(function* () {
        const { take, stop } = yield* webhooks({
          RUNPOD_WEBHOOK_GET_JOB: "http://localhost/v2/ep/job-take/$ID?gpu=A",
          RUNPOD_POD_ID: "pod",
        });
        assert.strictEqual(
          url(take(1, false)).href,
          "http://localhost/v2/ep/job-take/pod?gpu=A&job_in_progress=0",
        );
        assert.strictEqual(
          url(take(3, true)).href,
          "http://localhost/v2/ep/job-take-batch/pod?gpu=A&batch_size=3&job_in_progress=1",
        );
        assert.strictEqual(url(stop).href, "http://localhost/v2/ep/job-stop/pod?gpu=A");
      }),
  );

  it.effect("are none if RunPod sets none", () =>
    Effect.gen(function* () {
      const { take, stop, result, chunk, ping, workerId, isRegistered } = yield* webhooks({});
      for (const address of [take(1, false), stop, result("a", false), chunk("a"), ping({})]) {
        assert.isTrue(Option.isNone(address));
      }
      assert.isFalse(isRegistered);
      assert.isNotEmpty(workerId);
    }),
  );

  it.effect("have no URL for jobs to stop if the take URL has another form", () =>
    Effect.gen(function* () {
      const { take, stop } = yield* webhooks({
        RUNPOD_WEBHOOK_GET_JOB: "http://localhost/next",
        RUNPOD_POD_ID: "pod",
      });
      assert.isTrue(Option.isNone(stop));
      assert.strictEqual(url(take(1, false)).href, "http://localhost/next?job_in_progress=0");
    }),
  );
});
