// The images' health check: whether the worker in this container works, without network and with little CPU.
//   node health.mjs [PID]     every worker, or only the process of that id
// Exit 0: healthy; 1: no worker, a stopped process, or an event loop that has been blocked for longer than MAX_AGE.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The worker touches its file every 5 seconds; a machine whose CPU is all in use may delay it, in milliseconds. */
const MAX_AGE = 20_000;

const only = process.argv[2];

/** Processes that run `worker-tetra start` (or no command), by their id, with the state that the kernel gives. */
const workers = () =>
  readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid) || (only !== undefined && pid !== only)) return [];
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      const program = args.findIndex((arg) => arg.endsWith("/dist/bin.mjs"));
      const command = args[program + 1] ?? "";
      if (program < 1 || !(command === "" || command === "start" || command.startsWith("-")))
        return [];
      // The name before the state may hold anything, a closing parenthesis too.
      const state = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "")[0];
      return [{ pid, state }];
    } catch {
      // It ended in the meantime.
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
    // Without a writable temporary folder there is no file: then a running process is enough.
    return undefined;
  }
};

const found = workers();
const problems = found.map(problemOf).filter((problem) => problem !== undefined);
if (found.length === 0) problems.push("there is no worker process");
for (const problem of problems) console.error(problem);
process.exit(problems.length === 0 ? 0 : 1);
