import { assert, describe, it } from "@effect/vitest";

import { requirementsOf } from "../../src/functions/SdkPackage.ts";

const LIVE = {
  kind: "function",
  format: "json",
  code: "import os\nimport runpod\n\napp = runpod.App('a')\n",
  dependencies: ["numpy"],
} as const;

const WITH_SDK = ["numpy", "runpod>=2.0.0rc2"];

describe("requirementsOf", () => {
  it.each([
    "import runpod",
    "from runpod import App, GpuType",
    "import  runpod.apps as apps",
    "from runpod.apps import App",
    "try:\n    import runpod\nexcept ImportError:\n    runpod = None",
  ])("adds the SDK for a live module with %j", (code) => {
    assert.deepStrictEqual(requirementsOf({ ...LIVE, code }), WITH_SDK);
  });

  it.each(["import runpod_flash", "from runpods import App", "# import runpod", "x = 'runpod'"])(
    "adds nothing for a module with %j",
    (code) => {
      assert.deepStrictEqual(requirementsOf({ ...LIVE, code }), ["numpy"]);
    },
  );

  it("adds nothing for requests of other clients", () => {
    assert.deepStrictEqual(requirementsOf({ ...LIVE, format: "cloudpickle" }), ["numpy"]);
    assert.deepStrictEqual(requirementsOf({ ...LIVE, kind: "class" }), ["numpy"]);
  });

  it.each(["runpod==2.0.1", "RunPod", " runpod[cli]>=2"])(
    "keeps the version that a module requires itself: %s",
    (own) => {
      assert.deepStrictEqual(requirementsOf({ ...LIVE, dependencies: [own] }), [own]);
    },
  );

  it("adds the SDK beside a package whose name begins like it", () => {
    const dependencies = ["runpod-flash", "runpod.extras"];
    assert.deepStrictEqual(requirementsOf({ ...LIVE, dependencies }), [
      ...dependencies,
      "runpod>=2.0.0rc2",
    ]);
  });
});
