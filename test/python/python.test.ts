import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";

import { assert, beforeAll, describe, it } from "@effect/vitest";

const FOLDER = import.meta.dirname;
const ROOT = join(FOLDER, "../..");

describe("the runner's modules in Python", () => {
  let python = "";

  beforeAll(() => {
    // Only without pip's warnings, which are many where it uses several indexes.
    python = execFileSync("sh", [join(FOLDER, "tool.sh"), "--path"], {
      stdio: ["ignore", "pipe", "ignore"],
    })
      .toString()
      .trim();
  }, 300_000);

  it(
    "pass their unit tests, whose coverage `npm run test:coverage` reports",
    () => {
      const config = join(ROOT, "src/python/pyproject.toml");
      const { status, stdout, stderr } = spawnSync(
        python,
        ["-B", "-m", "coverage", "run", `--rcfile=${config}`, "-m", "pytest", "-q", "-c", config],
        { cwd: ROOT },
      );
      assert.strictEqual(status, 0, `${stdout}${stderr}`);
    },
    // On a machine that may be busy.
    120_000,
  );
});
