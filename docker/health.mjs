// Health check of the images. Uses no network and little CPU.
//   node health.mjs [PID]     checks all workers, or only this process
// Exit code 0: healthy; 1: no worker, a stopped process, or an event loop that was blocked for longer than MAX_AGE.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** In milliseconds. The worker touches its file every 5 seconds, later if all CPUs are busy. */
const MAX_AGE = 20_000;

const only = process.argv[2];

/** Ids and kernel states of processes that run `worker-tetra start` or `worker-tetra` without a command. */
const workers = () =>
  readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid) || (only !== undefined && pid !== only)) return [];
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      const program = args.findIndex((arg) => arg.endsWith("/dist/bin.mjs"));
      const command = args[program + 1] ?? "";
      if (program < 1 || !(command === "" || command === "start" || command.startsWith("-")))
        return [];
      // The process name before the state may contain any character, also a closing parenthesis.
      const state = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "")[0];
      return [{ pid, state }];
    } catch {
      // The process has ended meanwhile.
      return [];
    }
  });

const problemOf = ({ pid, state }) => {
  if (state === "T" || state === "t") return `process ${pid} is stopped`;
  if (state === "Z" || state === "X") return `process ${pid} has ended`;
  try {
    const age = Date.now() - statSync(join(tmpdir(), `worker-tetra-${pid}.alive`)).mtimeMs;
    return age > MAX_AGE
      ? `process ${pid} has not responded for ${Math.round(age / 1000)} seconds`
      : undefined;
  } catch {
    // There is no file if the temporary folder is not writable: then a running process counts as healthy.
    return undefined;
  }
};

const found = workers();
const problems = found.map(problemOf).filter((problem) => problem !== undefined);
if (found.length === 0) problems.push("there is no worker process");
for (const problem of problems) console.error(problem);
process.exit(problems.length === 0 ? 0 : 1);
