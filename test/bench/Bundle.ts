import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

import { Effect } from "effect";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** The command of the images. */
export const BUNDLE = [
  process.execPath,
  fileURLToPath(new URL("../../dist/bin.mjs", import.meta.url)),
] as const;

/** Settings of workers with a workspace of their own. */
export const SETTINGS = {
  RUNPOD_VOLUME_PATH: "/nonexistent",
  WORKER_WORKSPACE_PATH: "/tmp/worker-tetra-bench",
} as const;

export const LIVE_REQUEST = {
  function_name: "f",
  function_code: "def f(): return None",
  args: [],
} as const;

const build = Effect.sync(() => {
  execFileSync("npm", ["run", "-s", "bundle"], { cwd: ROOT, stdio: "ignore" });
  const [node, ...args] = BUNDLE;
  const job = JSON.stringify({ input: LIVE_REQUEST });
  for (const command of [["start", "--test_input", job], ["doctor"]]) {
    execFileSync(node, [...args, ...command], {
      cwd: ROOT,
      env: { ...process.env, ...SETTINGS },
      stdio: "ignore",
    });
  }
});

/** Builds the bundle once. Its first starts fill the cache of compiled code. */
export const bundled = Effect.runSync(Effect.cached(build));
