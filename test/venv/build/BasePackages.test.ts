import { assert, describe, it } from "@effect/vitest";

import { withBasePackages } from "../../../src/venv/build/BasePackages.ts";

describe("withBasePackages", () => {
  it("puts the base packages before the requirements", () => {
    assert.deepStrictEqual(withBasePackages(["numpy"]), [
      "cloudpickle==3.1.2",
      "aiohttp>=3.9",
      "numpy",
    ]);
  });

  it("leaves out a base package that is required explicitly", () => {
    assert.deepStrictEqual(withBasePackages(["CloudPickle[x]>=3", "aiohttp-retry"]), [
      "aiohttp>=3.9",
      "CloudPickle[x]>=3",
      "aiohttp-retry",
    ]);
  });
});
