import { Effect, Option } from "effect";

import { Environment } from "./Environment.ts";
import * as Setting from "./Setting.ts";

/** Flash and SDK 2.0 set it: the switch to a deployed app. */
const FLASH_RESOURCE_NAME = Setting.optionalText({
  name: "FLASH_RESOURCE_NAME",
  doc: "Name of the resource of a deployed app that this worker serves; set by `flash deploy` and `rp flash deploy`.",
  expected: "the name of a resource in the app's manifest",
  fallback: "RUNPOD_RESOURCE_NAME, else none: the worker runs code that jobs bring with them",
});

const RUNPOD_RESOURCE_NAME = Setting.optionalText({
  name: "RUNPOD_RESOURCE_NAME",
  doc: "Alternative to FLASH_RESOURCE_NAME, for apps of SDK 2.0.",
  expected: "the name of a resource in the app's manifest",
  fallback: "none",
});

/** The resource that the environment names. */
export const resourceName = Effect.gen(function* () {
  const flash = yield* FLASH_RESOURCE_NAME.value;
  return Option.isSome(flash) ? flash : yield* RUNPOD_RESOURCE_NAME.value;
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
