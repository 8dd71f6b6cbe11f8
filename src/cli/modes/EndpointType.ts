import { Effect, Option } from "effect";

import { Environment } from "../../settings/Environment.ts";
import * as Setting from "../../settings/Setting.ts";

const ENDPOINT_TYPE = Setting.optionalText({
  name: "FLASH_ENDPOINT_TYPE",
  doc: "`lb` if a deployed app is called through a load balancer, set by `flash deploy`. Then the worker serves HTTP requests.",
  expected: "lb",
  fallback: "none: jobs come from the queue if there is one",
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
