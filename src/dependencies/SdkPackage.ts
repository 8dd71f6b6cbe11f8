/**
 * The package of RunPod's SDK 2.0. It is in the images; elsewhere it is installed like a dependency, because live modules
 * import it for their decorators, to call other resources and, with its own dependencies, to serve HTTP.
 */
const REQUIREMENT = "runpod>=2.0.0rc2";

const IMPORT = /^[ \t]*(?:import|from)[ \t]+runpod\b/m;
const OWN_REQUIREMENT = /^\s*runpod(?![\w.-])/i;

/** Adds the SDK to the requirements of a live module that imports it, unless the module requires a version itself. */
export const withSdk = (
  module: string,
  requirements: ReadonlyArray<string>,
): ReadonlyArray<string> =>
  IMPORT.test(module) && !requirements.some((requirement) => OWN_REQUIREMENT.test(requirement))
    ? [...requirements, REQUIREMENT]
    : requirements;
