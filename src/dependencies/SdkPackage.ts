import { Effect } from "effect";

import { installedPackages } from "../venv/InstalledPackages.ts";
import type { PreparedWorkspace } from "../workspace/PreparedWorkspace.ts";

/**
 * The package of RunPod's SDK 2.0. It is in the images; elsewhere it is installed like a dependency, because live modules
 * import it for their decorators, to call other resources and, with its own dependencies, to serve HTTP.
 */
const REQUIREMENT = "runpod>=2.0.0rc2";

const IMPORT = /^[ \t]*(?:import|from)[ \t]+runpod\b/m;
const OWN_REQUIREMENT = /^\s*runpod(?![\w.-])/i;

/**
 * Whether a virtual environment has the SDK. The images have it without the packages that only its command line needs, so
 * that uv would install those for the requirement.
 */
const hasSdk = (prepared: Pick<PreparedWorkspace, "prefix" | "version">) =>
  Effect.map(
    installedPackages(prepared),
    (installed) => Number.parseInt(installed.get("runpod") ?? "0") >= 2,
  );

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
