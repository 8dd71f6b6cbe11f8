import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** A line of output, and the seconds since the worker's first line. */
export interface TimedLine {
  readonly seconds: number;
  readonly text: string;
}

const workerArgs = (requests: ReadonlyArray<string>) => [
  "--import",
  pathToFileURL(join(ROOT, "src/preflight.mjs")).href,
  join(ROOT, "src/main.ts"),
  "run",
  ...requests,
];

/** Replaces the random name of the worker's temporary folder. */
const withoutRandomNames = (text: string) =>
  text.replaceAll(/\/\S*\/worker-tetra-[^/]+\//g, "/tmp/worker-tetra/");

/** Runs `worker-tetra run` with requests made from Python files of this folder, and returns its output. */
export const recordRun = async (
  names: ReadonlyArray<string>,
): Promise<ReadonlyArray<TimedLine>> => {
  const folder = mkdtempSync(join(tmpdir(), "recording-"));
  try {
    const files = [...new Set(names)].map((name) => `${name}.py`);
    for (const file of files) {
      copyFileSync(fileURLToPath(new URL(file, import.meta.url)), join(folder, file));
    }
    const options = {
      cwd: folder,
      env: { ...process.env, WORKER_WORKSPACE_PATH: join(folder, "workspace") },
    };
    spawnSync("python3", [join(ROOT, "fixtures/make.py"), ...files], options);
    // The first run builds the virtual environment.
    spawnSync(process.execPath, workerArgs([join(ROOT, "fixtures/hello_world.json")]), options);

    const worker = spawn(process.execPath, workerArgs(names.map((name) => `${name}.json`)), {
      ...options,
      stdio: ["ignore", "pipe", "ignore"],
    });
    const lines: Array<TimedLine> = [];
    let start: number | undefined;
    createInterface({ input: worker.stdout }).on("line", (text) => {
      start ??= performance.now();
      lines.push({ seconds: (performance.now() - start) / 1000, text: withoutRandomNames(text) });
    });
    await once(worker, "close");
    return lines;
  } finally {
    rmSync(folder, { recursive: true });
  }
};
