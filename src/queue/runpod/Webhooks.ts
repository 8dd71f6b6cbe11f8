import { randomUUID } from "node:crypto";

import { Context, Effect, Layer, Option, Redacted } from "effect";

import * as Setting from "../../settings/Setting.ts";

const address = (name: string, doc: string, fallback: string) =>
  Setting.optionalText({
    name,
    doc,
    expected: "an address, with $ID and $RUNPOD_POD_ID",
    fallback,
    // It may have a token in it.
    isSecret: true,
  });

const GET_JOB = address(
  "RUNPOD_WEBHOOK_GET_JOB",
  "Where jobs are taken from, set by RunPod.",
  "none: there is no queue",
);
const POST_OUTPUT = address(
  "RUNPOD_WEBHOOK_POST_OUTPUT",
  "Where results go, set by RunPod.",
  "none",
);
const POST_STREAM = address(
  "RUNPOD_WEBHOOK_POST_STREAM",
  "Where the values of generators go, set by RunPod.",
  "none: they are in the result alone",
);
const PING = address("RUNPOD_WEBHOOK_PING", "Where the heartbeat goes, set by RunPod.", "none");

const API_KEY = Setting.secret({
  name: "RUNPOD_AI_API_KEY",
  doc: "The key of this worker for those addresses, set by RunPod. No job gets to see it.",
});

const POD_ID = Setting.optionalText({
  name: "RUNPOD_POD_ID",
  doc: "The id of this worker, set by RunPod.",
  expected: "a name",
  fallback: "a random one",
});

type Parameters = Readonly<Record<string, string | number>>;

/** An address with both placeholders replaced, and parameters after whatever it has of them. */
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

/** The addresses that RunPod gives to a worker, and the id of this worker. */
export class Webhooks extends Context.Service<
  Webhooks,
  {
    readonly workerId: string;
    readonly key: Option.Option<Redacted.Redacted<string>>;
    /** Whether RunPod has given the worker its id. */
    readonly isRegistered: boolean;
    /** The address for taking up to `slots` jobs; none if there is no queue. */
    readonly take: (slots: number, isBusy: boolean) => Option.Option<string>;
    /** The address for ids of jobs to stop; none if there is no such channel. */
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
        // The service wants this parameter on chunks too, and wants it false.
        chunk: (jobId) =>
          Option.map(postStream, (url) => expand(url, { workerId, jobId }, { isStream: "false" })),
        ping: (parameters) => Option.map(ping, (url) => expand(url, { workerId }, parameters)),
      });
    }),
  );
}
