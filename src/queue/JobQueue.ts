import { Context, type Duration, Effect, Layer, Option, Redacted } from "effect";
import { HttpClient } from "effect/http";

import manifest from "../../package.json" with { type: "json" };
import { Environment } from "../settings/Environment.ts";
import { makePolls } from "./runpod/Polls.ts";
import { makePosts } from "./runpod/Posts.ts";
import type { PostFailed, TakeFailed } from "./runpod/RequestFailed.ts";
import type { Taken } from "./runpod/TakenJobs.ts";
import { Webhooks } from "./runpod/Webhooks.ts";

/** The requests to RunPod's queue. It sends each one once; callers decide when, and retry. */
export class JobQueue extends Context.Service<
  JobQueue,
  {
    /**
     * Waits for up to `slots` jobs. An interruption aborts the request, except while a response is being read: RunPod
     * sends each job only once.
     */
    readonly take: (slots: number, isBusy: boolean) => Effect.Effect<Taken, TakeFailed>;
    /** Waits for the ids of jobs to stop; fails if `canStop` is false. */
    readonly stops: Effect.Effect<ReadonlyArray<string>, TakeFailed>;
    /** Sends the result of a job, or its progress. */
    readonly complete: (
      jobId: string,
      body: Uint8Array,
      isStream: boolean,
      timeout: Duration.Duration,
    ) => Effect.Effect<void, PostFailed>;
    /** Sends one value of a generator. */
    readonly chunk: (
      jobId: string,
      body: Uint8Array,
      timeout: Duration.Duration,
    ) => Effect.Effect<void, PostFailed>;
    /** Whether RunPod can stop jobs of this worker. */
    readonly canStop: boolean;
    /** Whether the queue runs unfinished jobs again; then they are not reported as failed. */
    readonly rerunsUnfinished: boolean;
    /** Whether values of generators can be sent while the job runs. */
    readonly canStream: boolean;
    readonly ping: (
      parameters: Readonly<Record<string, string>>,
      timeout: Duration.Duration,
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
        complete: (jobId, body, isStream, timeout) =>
          post(webhooks.result(jobId, isStream), jobId, body, timeout).pipe(
            Effect.withSpan("JobQueue.complete"),
          ),
        chunk: (jobId, body, timeout) =>
          post(webhooks.chunk(jobId), jobId, body, timeout).pipe(Effect.withSpan("JobQueue.chunk")),
        canStop: Option.isSome(webhooks.stop),
        rerunsUnfinished: false,
        canStream: Option.isSome(webhooks.chunk("")),
        ping: (parameters, timeout) => get(webhooks.ping(parameters), timeout),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide(Webhooks.layer));
}
