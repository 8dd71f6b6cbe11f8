import { Effect, FileSystem } from "effect";

import { sitePackages } from "../venv/Venv.ts";
import type { PreparedWorkspace } from "../workspace/PreparedWorkspace.ts";

/**
 * The package of RunPod's SDK 2.0. It is in the images; elsewhere it is installed like a dependency, because live modules
 * import it for their decorators, to call other resources and, with its own dependencies, to serve HTTP.
 */
const REQUIREMENT = "runpod>=2.0.0rc2";

const IMPORT = /^[ \t]*(?:import|from)[ \t]+runpod\b/m;
const OWN_REQUIREMENT = /^\s*runpod(?![\w.-])/i;

/** The name under which version 2 or newer of the SDK is listed in a virtual environment. */
const INSTALLED = /^runpod-(?:[2-9]|[1-9]\d+)\..*\.dist-info$/;

/**
 * Whether a virtual environment has the SDK. The images have it without the packages that only its command line needs, so
 * that uv would install those for the requirement.
 */
const hasSdk = Effect.fnUntraced(function* ({
  prefix,
  version,
}: Pick<PreparedWorkspace, "prefix" | "version">) {
  const files = yield* FileSystem.FileSystem;
  const names = yield* Effect.orElseSucceed(
    files.readDirectory(sitePackages(prefix, version)),
    (): ReadonlyArray<string> => [],
  );
  return names.some((name) => INSTALLED.test(name));
});

/**
 * Adds the SDK to the requirements of a live module that imports it, unless the module requires a version itself or the
 * SDK is installed.
 */
export const withSdk = Effect.fnUntraced(function* (
  module: string,
  requirements: ReadonlyArray<string>,
  prepared: Pick<PreparedWorkspace, "prefix" | "version">,
) {
  const isNeeded =
    IMPORT.test(module) && !requirements.some((requirement) => OWN_REQUIREMENT.test(requirement));
  return isNeeded && !(yield* hasSdk(prepared)) ? [...requirements, REQUIREMENT] : requirements;
});
