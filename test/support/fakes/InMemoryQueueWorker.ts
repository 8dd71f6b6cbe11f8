import { NodeServices } from "@effect/platform-node";
import { Layer } from "effect";

import { JobQueue } from "../../../src/queue/JobQueue.ts";
import { QueueWorker } from "../../../src/queue/QueueWorker.ts";
import { Delivery } from "../../../src/queue/reports/Delivery.ts";
import { Heartbeat } from "../../../src/queue/reports/Heartbeat.ts";
import { ResultStore } from "../../../src/queue/reports/ResultStore.ts";
import { Webhooks } from "../../../src/queue/runpod/Webhooks.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { fakeJobQueue } from "./FakeJobQueue.ts";

/** The queue worker without a network: functions replace the requests to RunPod. */
export const inMemoryWorker = (
  queue: Partial<JobQueue["Service"]>,
  variables: Readonly<Record<string, string>> = {},
) =>
  QueueWorker.layerNoDeps.pipe(
    Layer.provideMerge(Delivery.layerNoDeps),
    Layer.provide([Heartbeat.layerNoDeps, ResultStore.layer]),
    Layer.provide([Layer.succeed(JobQueue, fakeJobQueue(queue)), Webhooks.layer]),
    Layer.provide([
      NodeServices.layer,
      Environment.layerOf({
        RUNPOD_WEBHOOK_PING: "http://runpod.test/ping/$RUNPOD_POD_ID",
        RUNPOD_AI_API_KEY: "key",
        RUNPOD_POD_ID: "pod",
        ...variables,
      }),
    ]),
  );
