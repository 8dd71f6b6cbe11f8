import { Option } from "effect";

import type { Environment } from "../settings/Environment.ts";
import type { Place } from "../venv/Place.ts";
import { LINK_MODE } from "../venv/uv/UvEnvironment.ts";

type Variables = Readonly<Record<string, string>>;

type IsSet = (name: string) => boolean;

/**
 * Cache folders of old and new Hugging Face libraries, which derive some of these variables from others. A default
 * that would override a variable that the user has set is left out.
 */
const hubVariables = (caches: string, isSet: IsSet): Variables => {
  if (isSet("HF_HOME")) return {};
  const home = `${caches}/.hf-cache`;
  const hub = `${home}/hub`;
  const hubIsSet = isSet("HF_HUB_CACHE") || isSet("HUGGINGFACE_HUB_CACHE");
  return {
    HF_HOME: home,
    HF_DATASETS_CACHE: `${home}/datasets`,
    ...(hubIsSet
      ? {}
      : {
          HF_HUB_CACHE: hub,
          HUGGINGFACE_HUB_CACHE: hub,
          TRANSFORMERS_CACHE: `${home}/transformers`,
        }),
  };
};

/**
 * Caches of compiled kernels, each with one folder per `compileKey`. All of vLLM's is one: besides kernels it contains
 * what vLLM found out about the GPUs of the machine and about its own models. It keeps no model there.
 */
export const COMPILE_CACHES = [".vllm-cache", ".triton-cache", ".inductor-cache"] as const;

const compileVariables = (caches: string, key: string): Variables => ({
  VLLM_CACHE_ROOT: `${caches}/.vllm-cache/${key}`,
  TRITON_CACHE_DIR: `${caches}/.triton-cache/${key}`,
  TORCHINDUCTOR_CACHE_DIR: `${caches}/.inductor-cache/${key}`,
});

/**
 * Environment variables of user code: those of programs, and the workspace's additions. Variables that the user has
 * set are not changed.
 */
export const jobEnvironment = (
  { forPrograms, has }: Environment["Service"],
  { caches, shared, cachedModels, stagedModels, keepsCaches = shared }: Place,
  prefix: string,
  compileKey: string,
): Variables => {
  // Without a volume the libraries use their default folders, unless there are cached models to link.
  const additions: Variables = {
    UV_LINK_MODE: LINK_MODE,
    ...(keepsCaches
      ? {
          UV_CACHE_DIR: `${caches}/.uv-cache`,
          TORCH_HOME: `${caches}/.torch`,
          ...compileVariables(caches, compileKey),
        }
      : {}),
    ...(keepsCaches || Option.isSome(cachedModels) || stagedModels !== undefined
      ? hubVariables(caches, has)
      : {}),
    // SDK 2.0 checks the machine when it is imported in a worker, and ends the process if a check fails. This worker has
    // its own checks.
    RUNPOD_EARLY_FITNESS_CHECKS_DONE: "1",
  };
  const added = Object.entries(additions).filter(([name]) => !has(name));
  const { PATH = "/usr/local/bin:/usr/bin:/bin" } = forPrograms;
  return {
    ...forPrograms,
    ...Object.fromEntries(added),
    VIRTUAL_ENV: prefix,
    PATH: `${prefix}/bin:${PATH}`,
  };
};
