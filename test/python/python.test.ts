import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";

import { assert, beforeAll, describe, it } from "@effect/vitest";

const ROOT = join(import.meta.dirname, "../..");

/** The settings of pytest and coverage. */
const CONFIG = join(ROOT, "src/python/pyproject.toml");

describe("the Python runner", () => {
  let python = "";

  beforeAll(() => {
    python = execFileSync("sh", [join(import.meta.dirname, "tool.sh"), "--path"], {
      stdio: ["ignore", "pipe", "ignore"],
    })
      .toString()
      .trim();
    // The first run installs the tools.
  }, 300_000);

  it(
    "passes its unit tests",
    () => {
      const pytest = ["-m", "pytest", "-q", "-c", CONFIG];
      // `npm run test:coverage` prints it after all tests.
      const isMeasured = process.env["PYTHON_COVERAGE"] !== undefined;
      const args = isMeasured ? ["-m", "coverage", "run", `--rcfile=${CONFIG}`, ...pytest] : pytest;
      const { status, stdout, stderr } = spawnSync(python, ["-B", ...args], {
        cwd: ROOT,
        // Longer than pytest's faulthandler_timeout, so that the output shows the traceback of a test that hangs.
        timeout: 110_000,
        killSignal: "SIGKILL",
      });
      assert.strictEqual(status, 0, `${stdout}${stderr}`);
    },
    // Much longer than usual, for a machine under load.
    120_000,
  );
});
