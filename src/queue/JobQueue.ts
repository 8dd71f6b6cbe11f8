import { Context, type Duration, Effect, Layer, Option, Redacted } from "effect";
import { HttpClient } from "effect/http";

import manifest from "../../package.json" with { type: "json" };
import { Environment } from "../settings/Environment.ts";
import { makePolls } from "./runpod/Polls.ts";
import { makePosts } from "./runpod/Posts.ts";
import type { PostFailed, TakeFailed } from "./runpod/RequestFailed.ts";
import type { Taken } from "./runpod/TakenJobs.ts";
import { Webhooks } from "./runpod/Webhooks.ts";

/** The requests to RunPod's queue; when they are sent is up to others. */
export class JobQueue extends Context.Service<
  JobQueue,
  {
    /**
     * Waits for up to `slots` jobs. An interruption aborts the request; but a response that has begun is read first, since
     * RunPod has given the jobs in it away.
     */
    readonly take: (slots: number, isBusy: boolean) => Effect.Effect<Taken, TakeFailed>;
    /** Waits for ids of jobs to stop; fails if there is no such channel. */
    readonly stops: Effect.Effect<ReadonlyArray<string>, TakeFailed>;
    /** Sends the result of a job, or its progress. */
    readonly complete: (
      jobId: string,
      body: Uint8Array,
      isStream: boolean,
      limit: Duration.Duration,
    ) => Effect.Effect<void, PostFailed>;
    /** Sends one value of a generator. */
    readonly chunk: (
      jobId: string,
      body: Uint8Array,
      limit: Duration.Duration,
    ) => Effect.Effect<void, PostFailed>;
    /** Whether there is a channel for jobs to stop. */
    readonly canStop: boolean;
    /** Whether the queue itself runs unfinished jobs again, so that they are not reported as failed. */
    readonly rerunsUnfinished: boolean;
    /** Whether there is an address for values of generators. */
    readonly canStream: boolean;
    readonly ping: (
      parameters: Readonly<Record<string, string>>,
      limit: Duration.Duration,
    ) => Effect.Effect<void, PostFailed>;
  }
>()("worker-tetra/queue/JobQueue") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const webhooks = yield* Webhooks;
      const client = yield* HttpClient.HttpClient;
      const { mask } = yield* Environment;

      const headers = {
        ...(Option.isSome(webhooks.key)
          ? { authorization: Redacted.value(webhooks.key.value) }
          : {}),
        "user-agent": `worker-tetra/${manifest.version} (node ${process.versions.node})`,
      };

      const { take, stops } = makePolls(webhooks, client, headers, mask, yield* Effect.scope);
      const { get, post } = makePosts(client, headers);

      return JobQueue.of({
        take,
        stops,
        complete: (jobId, body, isStream, limit) =>
          post(webhooks.result(jobId, isStream), jobId, body, limit).pipe(
            Effect.withSpan("JobQueue.complete"),
          ),
        chunk: (jobId, body, limit) =>
          post(webhooks.chunk(jobId), jobId, body, limit).pipe(Effect.withSpan("JobQueue.chunk")),
        canStop: Option.isSome(webhooks.stop),
        rerunsUnfinished: false,
        canStream: Option.isSome(webhooks.chunk("")),
        ping: (parameters, limit) => get(webhooks.ping(parameters), limit),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide(Webhooks.layer));
}
