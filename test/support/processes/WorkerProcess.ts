import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { Effect, Option, Result, Schema } from "effect";
import { inject } from "vitest";

import { startProcess } from "./ChildProcess.ts";
import { realEnvironment } from "./RealWorker.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** The command line of the worker, for a shell. */
export const workerCommand = (...options: ReadonlyArray<string>): string =>
  [process.execPath, ...options, inject("program")].join(" ");

/** The same as another user, who can read the program's files in any folder. For tests that run as root. */
export const workerCommandOf = (user: number, limit = ""): string =>
  `exec setpriv --reuid=${user} --regid=${user} --clear-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search ${limit} ${workerCommand()}`;

const decodeLine = Schema.decodeUnknownOption(
  Schema.fromJsonString(
    Schema.Struct({
      requestId: Schema.NullOr(Schema.String),
      message: Schema.String,
      level: Schema.String,
    }),
  ),
);

/**
 * Starts the worker as RunPod does, or by another command, optionally as leader of a process group. It is killed when
 * the scope closes.
 */
export const workerProcess = Effect.fnUntraced(function* (
  variables: Readonly<Record<string, string>>,
  args: ReadonlyArray<string> = ["start"],
  command = `exec ${workerCommand()}`,
  leadsGroup = false,
) {
  const worker = yield* startProcess("sh", ["-c", `${command} "$@"`, "sh", ...args], {
    directory: ROOT,
    environment: { ...realEnvironment(), RUNPOD_ENDPOINT_ID: "tests", ...variables },
    leadsGroup,
  });
  return {
    ...worker,
    /** The log messages in RunPod's JSON format. */
    logs: () =>
      worker
        .stderr()
        .split("\n")
        .flatMap((line) => Option.toArray(decodeLine(line))),
  };
});

/** Ids of all descendants of a process, from /proc. */
export const descendantsOf = (pid: number): ReadonlyArray<number> => {
  const parents = readdirSync("/proc").flatMap((name) => {
    const stat = Result.try(() => readFileSync(`/proc/${name}/stat`, "utf8"));
    const [, parent] = /\) [A-Z] (\d+) /.exec(Result.getOrElse(stat, () => "")) ?? [];
    return parent === undefined ? [] : [[Number(name), Number(parent)] as const];
  });
  const found = [pid];
  for (const of of found) {
    for (const [child, parent] of parents) if (parent === of) found.push(child);
  }
  return found.slice(1);
};
