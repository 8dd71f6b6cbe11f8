import { assert, describe, it } from "@effect/vitest";
import { Option } from "effect";

import { Environment } from "../../src/settings/Environment.ts";
import type { Place } from "../../src/venv/Place.ts";
import { jobEnvironment } from "../../src/workspace/JobEnvironment.ts";

const volume: Place = {
  directory: "/runpod-volume/runtimes/default",
  shared: true,
  caches: "/runpod-volume",
  cachedModels: Option.none(),
};

const own: Place = {
  directory: "/app",
  shared: false,
  caches: "/app",
  cachedModels: Option.none(),
};

const PREFIX = "/runpod-volume/runtimes/default/.venvs/3.12.1-abc-1";

const KEY = "nvidia-l4_driver-550.54.15_x86-64-v3_3.12.1-abc";

const variablesAt = (place: Place, variables: Readonly<Record<string, string>> = {}) =>
  jobEnvironment(Environment.make({ PATH: "/usr/bin:/bin", ...variables }), place, PREFIX, KEY);

const HUB = {
  HF_HOME: "/runpod-volume/.hf-cache",
  HF_HUB_CACHE: "/runpod-volume/.hf-cache/hub",
  HUGGINGFACE_HUB_CACHE: "/runpod-volume/.hf-cache/hub",
  TRANSFORMERS_CACHE: "/runpod-volume/.hf-cache/transformers",
  HF_DATASETS_CACHE: "/runpod-volume/.hf-cache/datasets",
};

const VENV = {
  VIRTUAL_ENV: PREFIX,
  PATH: `${PREFIX}/bin:/usr/bin:/bin`,
  // Copies, so that a job can't change files in uv's cache.
  UV_LINK_MODE: "copy",
  // The machine was checked already.
  RUNPOD_EARLY_FITNESS_CHECKS_DONE: "1",
};

describe("jobEnvironment", () => {
  it("puts every cache on the volume, and the virtual environment first", () => {
    assert.deepStrictEqual(variablesAt(volume), {
      ...VENV,
      ...HUB,
      UV_CACHE_DIR: "/runpod-volume/.uv-cache",
      TORCH_HOME: "/runpod-volume/.torch",
      VLLM_CACHE_ROOT: `/runpod-volume/.vllm-cache/${KEY}`,
      TRITON_CACHE_DIR: `/runpod-volume/.triton-cache/${KEY}`,
      TORCHINDUCTOR_CACHE_DIR: `/runpod-volume/.inductor-cache/${KEY}`,
    });
  });

  it("keeps the libraries' default folders on the container's disk", () => {
    assert.deepStrictEqual(variablesAt(own), VENV);
  });

  it("sets a hub cache on the container's disk if there are cached models", () => {
    const variables = variablesAt({ ...own, cachedModels: Option.some("/models") });
    assert.strictEqual(variables["HF_HUB_CACHE"], "/app/.hf-cache/hub");
    assert.notProperty(variables, "UV_CACHE_DIR");
    assert.notProperty(variables, "TORCH_HOME");
  });

  it("sets a hub cache on the container's disk if there are staged models", () => {
    const variables = variablesAt({ ...own, stagedModels: "/models" });
    assert.strictEqual(variables["HF_HUB_CACHE"], "/app/.hf-cache/hub");
  });

  it("passes the variables of RunPod's SDK to jobs", () => {
    const given = {
      RUNPOD_DEV_APP: "app",
      RUNPOD_DEV_RESOURCE: "resource",
      RUNPOD_DEV_GENERATION: "2",
      RUNPOD_MOUNTS: "[]",
      RUNPOD_API_KEY: "key",
      MODEL_REVISION: "abc",
      FLASH_RESOURCE_NAME: "resource",
    };
    assert.deepInclude(variablesAt(own, given), given);
  });

  it.each([
    "UV_CACHE_DIR",
    "UV_LINK_MODE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_CACHE",
    "HF_DATASETS_CACHE",
    "TORCH_HOME",
    "VLLM_CACHE_ROOT",
    "TRITON_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
  ])("leaves %s as the user has set it", (name) => {
    assert.strictEqual(variablesAt(volume, { [name]: "/mine" })[name], "/mine");
  });

  it("sets no hub variables if the user has set HF_HOME", () => {
    const variables = variablesAt(volume, { HF_HOME: "/mine" });
    assert.deepStrictEqual(
      Object.keys(HUB).filter((name) => name in variables),
      ["HF_HOME"],
    );
  });

  it.each(["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])(
    "does not override %s by one of the others",
    (name) => {
      const variables = variablesAt(volume, { [name]: "/mine" });
      const derived = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"];
      assert.deepStrictEqual(
        derived.filter((one) => one in variables),
        [name],
      );
      assert.strictEqual(variables["HF_HOME"], HUB.HF_HOME);
    },
  );

  it("keeps the user's other variables, without the worker's credentials", () => {
    const variables = variablesAt(volume, {
      HTTPS_PROXY: "http://proxy",
      RUNPOD_API_KEY: "for calls of other endpoints",
      RUNPOD_AI_API_KEY: "the worker's",
      RUNPOD_WEBHOOK_GET_JOB: "http://jobs",
    });
    assert.strictEqual(variables["HTTPS_PROXY"], "http://proxy");
    assert.property(variables, "RUNPOD_API_KEY");
    assert.notProperty(variables, "RUNPOD_AI_API_KEY");
    assert.notProperty(variables, "RUNPOD_WEBHOOK_GET_JOB");
  });

  it("is the same for every call", () => {
    const environment = Environment.make({ PATH: "/usr/bin" });
    const first = jobEnvironment(environment, volume, PREFIX, KEY);
    for (let turn = 0; turn < 2000; turn += 1) jobEnvironment(environment, volume, PREFIX, KEY);
    assert.deepStrictEqual(jobEnvironment(environment, volume, PREFIX, KEY), first);
    assert.notProperty(first, "PYTHONPATH");
  });

  it("has a PATH with the system's folders if none is set", () => {
    const { PATH } = jobEnvironment(Environment.make({}), own, PREFIX, KEY);
    assert.strictEqual(PATH, `${PREFIX}/bin:/usr/local/bin:/usr/bin:/bin`);
  });
});
