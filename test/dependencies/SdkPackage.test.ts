import { assert, describe, it } from "@effect/vitest";

import { withSdk } from "../../src/dependencies/SdkPackage.ts";

const SDK = "runpod>=2.0.0rc2";
const MODULE = "import os\nimport runpod\n\napp = runpod.App('a')\n";

describe("withSdk", () => {
  it.each([
    MODULE,
    "from runpod import App, GpuType",
    "import  runpod.apps as apps",
    "from runpod.apps import App",
    "try:\n    import runpod\nexcept ImportError:\n    runpod = None",
  ])("adds the SDK for a module with %j", (module) => {
    assert.deepStrictEqual(withSdk(module, ["numpy"]), ["numpy", SDK]);
  });

  it.each(["import runpod_flash", "from runpods import App", "# import runpod", "x = 'runpod'"])(
    "adds nothing for a module with %j",
    (module) => {
      assert.deepStrictEqual(withSdk(module, ["numpy"]), ["numpy"]);
    },
  );

  it.each(["runpod==2.0.1", "RunPod", " runpod[cli]>=2"])(
    "keeps the version that a module requires itself: %s",
    (own) => {
      assert.deepStrictEqual(withSdk(MODULE, [own]), [own]);
    },
  );

  it("adds the SDK beside a package whose name begins like it", () => {
    const requirements = ["runpod-flash", "runpod.extras"];
    assert.deepStrictEqual(withSdk(MODULE, requirements), [...requirements, SDK]);
  });
});
