import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";

const FOLDER = import.meta.dirname;

describe("the runner's modules in Python", () => {
  it.each(readdirSync(FOLDER).filter((name) => name.endsWith(".py")))(
    "pass %s",
    (name) => {
      const { status, stderr } = spawnSync("python3", ["-I", "-B", join(FOLDER, name)]);
      assert.strictEqual(status, 0, stderr.toString());
    },
    // On a machine that may be busy.
    60_000,
  );
});
