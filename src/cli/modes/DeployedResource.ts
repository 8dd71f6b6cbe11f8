import { Effect, Option } from "effect";

import { resourceName } from "../../apps/artifact/AppSettings.ts";
import { Environment } from "../../settings/Environment.ts";
import * as Setting from "../../settings/Setting.ts";

const ENDPOINT_TYPE = Setting.optionalText({
  name: "FLASH_ENDPOINT_TYPE",
  doc: "`lb` if a deployed app is called through a load balancer, set by `flash deploy`. Then the worker serves HTTP requests.",
  expected: "lb",
  fallback: "none: jobs come from the queue if there is one",
});

/**
 * The resource of a deployed app that this worker serves: none on a laptop, and none in a development session of SDK
 * 2.0, whose requests contain their source.
 */
export const deployedResource = Effect.gen(function* () {
  const { has } = yield* Environment;
  const isOnRunPod = has("RUNPOD_ENDPOINT_ID") || has("RUNPOD_POD_ID");
  if (!isOnRunPod || has("RUNPOD_DEV_APP")) return Option.none<string>();
  return yield* resourceName;
});

/** Whether the environment says that requests come from a load balancer. */
export const isLoadBalanced = Effect.gen(function* () {
  const { isSetTo } = yield* Environment;
  const type = yield* ENDPOINT_TYPE.value;
  return (
    Option.exists(type, (value) => value.trim().toLowerCase() === "lb") ||
    isSetTo("RUNPOD_RUNTIME_KIND", "api")
  );
});
