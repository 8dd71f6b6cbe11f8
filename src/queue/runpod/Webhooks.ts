import { randomUUID } from "node:crypto";

import { Context, Effect, Layer, Option, Redacted } from "effect";

import * as Setting from "../../settings/Setting.ts";

const urlSetting = (name: string, doc: string, fallback: string) =>
  Setting.optionalText({
    name,
    doc,
    expected: "a URL with the placeholders $ID and $RUNPOD_POD_ID",
    fallback,
    // It may contain a token.
    isSecret: true,
  });

const GET_JOB = urlSetting(
  "RUNPOD_WEBHOOK_GET_JOB",
  "URL to take jobs from, set by RunPod.",
  "none: no queue",
);
const POST_OUTPUT = urlSetting(
  "RUNPOD_WEBHOOK_POST_OUTPUT",
  "URL to send results to, set by RunPod.",
  "none",
);
const POST_STREAM = urlSetting(
  "RUNPOD_WEBHOOK_POST_STREAM",
  "URL to send the values of generators to, set by RunPod.",
  "none: values are only in the result",
);
const PING = urlSetting("RUNPOD_WEBHOOK_PING", "URL to send heartbeats to, set by RunPod.", "none");

const API_KEY = Setting.secret({
  name: "RUNPOD_AI_API_KEY",
  doc: "This worker's API key for RunPod's queue, set by RunPod. It is not passed to jobs.",
});

const POD_ID = Setting.optionalText({
  name: "RUNPOD_POD_ID",
  doc: "ID of this worker, set by RunPod.",
  expected: "an ID",
  fallback: "a random ID",
});

type Parameters = Readonly<Record<string, string | number>>;

/** Replaces both placeholders in a URL, and appends parameters to its query. */
export const expand = (
  template: string,
  names: { readonly workerId: string; readonly jobId?: string },
  parameters: Parameters = {},
): string => {
  const { workerId, jobId = workerId } = names;
  const base = template
    .replaceAll("$RUNPOD_POD_ID", encodeURIComponent(workerId))
    .replaceAll("$ID", encodeURIComponent(jobId));
  const added = Object.entries(parameters)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join("&");
  if (added === "") return base;
  return `${base}${base.includes("?") ? "&" : "?"}${added}`;
};

/** The URLs that RunPod sets for a worker, and the id of this worker. */
export class Webhooks extends Context.Service<
  Webhooks,
  {
    readonly workerId: string;
    readonly key: Option.Option<Redacted.Redacted<string>>;
    /** Whether RunPod has set the id. */
    readonly isRegistered: boolean;
    /** The URL to take up to `slots` jobs from; none without a queue. */
    readonly take: (slots: number, isBusy: boolean) => Option.Option<string>;
    /** The URL to poll for the ids of jobs to stop; none if RunPod offers none. */
    readonly stop: Option.Option<string>;
    readonly result: (jobId: string, isStream: boolean) => Option.Option<string>;
    readonly chunk: (jobId: string) => Option.Option<string>;
    readonly ping: (parameters: Parameters) => Option.Option<string>;
  }
>()("worker-tetra/queue/runpod/Webhooks") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const getJob = yield* GET_JOB.value;
      const postOutput = yield* POST_OUTPUT.value;
      const postStream = yield* POST_STREAM.value;
      const ping = yield* PING.value;
      const podId = yield* POD_ID.value;
      const workerId = Option.getOrElse(podId, () => randomUUID());
      const isStop = Option.filter(getJob, (url) => url.includes("/job-take/"));
      return Webhooks.of({
        workerId,
        key: yield* API_KEY.value,
        isRegistered: Option.isSome(podId),
        take: (slots, isBusy) =>
          Option.map(getJob, (url) => {
            const job_in_progress = isBusy ? 1 : 0;
            return slots > 1
              ? expand(
                  url.replace("/job-take/", "/job-take-batch/"),
                  { workerId },
                  { batch_size: slots, job_in_progress },
                )
              : expand(url, { workerId }, { job_in_progress });
          }),
        stop: Option.map(isStop, (url) =>
          expand(url.replace("/job-take/", "/job-stop/"), { workerId }),
        ),
        result: (jobId, isStream) =>
          Option.map(postOutput, (url) =>
            expand(url, { workerId, jobId }, { isStream: String(isStream) }),
          ),
        // RunPod requires this parameter on chunks too, with the value false.
        chunk: (jobId) =>
          Option.map(postStream, (url) => expand(url, { workerId, jobId }, { isStream: "false" })),
        ping: (parameters) => Option.map(ping, (url) => expand(url, { workerId }, parameters)),
      });
    }),
  );
}
