import type { FunctionRequest } from "../domain/FunctionRequest.ts";

/**
 * The package of RunPod's SDK 2.0. It is in the images; elsewhere it is installed like a dependency, because modules
 * import it for their decorators and to call other resources.
 */
const REQUIREMENT = "runpod>=2.0.0rc2";

const IMPORT = /^[ \t]*(?:import|from)[ \t]+runpod\b/m;
const OWN_REQUIREMENT = /^\s*runpod(?![\w.-])/i;

/** The requirements of a request; those of a live request of SDK 2.0 include the SDK. */
export const requirementsOf = ({
  kind,
  format,
  code,
  dependencies,
}: Pick<FunctionRequest, "kind" | "format" | "code" | "dependencies">): ReadonlyArray<string> =>
  kind === "function" &&
  format === "json" &&
  IMPORT.test(code) &&
  !dependencies.some((requirement) => OWN_REQUIREMENT.test(requirement))
    ? [...dependencies, REQUIREMENT]
    : dependencies;
