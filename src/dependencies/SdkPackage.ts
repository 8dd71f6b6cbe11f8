import { Cache, Effect } from "effect";

import { installedPackages } from "../venv/InstalledPackages.ts";
import type { PreparedWorkspace } from "../workspace/PreparedWorkspace.ts";

/**
 * The package of RunPod's SDK 2.0. It is in the images; elsewhere it is installed like a dependency, because live modules
 * import it for their decorators, to call other resources and, with its own dependencies, to serve HTTP.
 */
const REQUIREMENT = "runpod>=2.0.0rc2";

/** The number of workspaces for which it is remembered whether they have the SDK. */
const MAX_WORKSPACES = 8;

const IMPORT = /^[ \t]*(?:import|from)[ \t]+runpod\b/m;
const OWN_REQUIREMENT = /^\s*runpod(?![\w.-])/i;

/** The packages of a workspace: those of a new generation may be others. */
type Contents = Pick<PreparedWorkspace, "prefix" | "version" | "generation">;

/**
 * Whether a virtual environment has the SDK. The images have it without the packages that only its command line needs, so
 * that uv would install those for the requirement.
 */
const hasSdk = (prepared: Contents) =>
  Effect.map(
    installedPackages(prepared),
    (installed) => Number.parseInt(installed.get("runpod") ?? "0") >= 2,
  );

/**
 * Makes a function that adds the SDK to the requirements of a live module that imports it, unless the module requires a
 * version itself or the SDK is installed.
 */
export const makeWithSdk = Effect.gen(function* () {
  // Every live call of SDK 2.0 asks, and listing packages on a network volume is slow.
  const known = yield* Cache.make({ capacity: MAX_WORKSPACES, lookup: hasSdk });

  return Effect.fnUntraced(function* (
    module: string,
    requirements: ReadonlyArray<string>,
    { prefix, version, generation }: Contents,
  ) {
    const isNeeded =
      IMPORT.test(module) && !requirements.some((requirement) => OWN_REQUIREMENT.test(requirement));
    return isNeeded && !(yield* Cache.get(known, { prefix, version, generation }))
      ? [...requirements, REQUIREMENT]
      : requirements;
  });
});
