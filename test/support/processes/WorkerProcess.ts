import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { Deferred, Effect, Exit, Option, Result, Schema } from "effect";
import { inject } from "vitest";

import { realEnvironment } from "./RealWorker.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** The command line of the program, for a shell. */
export const workerCommand = (...options: ReadonlyArray<string>): string =>
  [process.execPath, ...options, inject("program")].join(" ");

/** The same as another user, who may read the program wherever that is; for tests that root runs. */
export const workerCommandOf = (user: number, limit = ""): string =>
  `exec setpriv --reuid=${user} --regid=${user} --clear-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search ${limit} ${workerCommand()}`;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Signals every process of a group; ignores processes that have ended. */
const signalGroup = ({ pid }: ChildProcess, name: NodeJS.Signals): void => {
  if (pid !== undefined) Result.try(() => process.kill(-pid, name));
};

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
 * The program itself, as RunPod starts it, or by another command; killed when the scope closes. As in a terminal it
 * can be the leader of a process group, whose members a Ctrl-C reaches all at once.
 */
export const workerProcess = Effect.fnUntraced(function* (
  variables: Readonly<Record<string, string>>,
  args: ReadonlyArray<string> = ["start"],
  command = `exec ${workerCommand()}`,
  leadsGroup = false,
) {
  const ended = Deferred.makeUnsafe<Ended>();
  const output = { stdout: "", stderr: "" };
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn("sh", ["-c", `${command} "$@"`, "sh", ...args], {
        cwd: ROOT,
        env: { ...realEnvironment(), RUNPOD_ENDPOINT_ID: "tests", ...variables },
        stdio: ["ignore", "pipe", "pipe"],
        detached: leadsGroup,
      }),
    ),
    (started) =>
      Effect.andThen(
        Effect.sync(() => (leadsGroup ? signalGroup(started, "SIGKILL") : started.kill("SIGKILL"))),
        Effect.asVoid(Deferred.await(ended)),
      ),
  );
  for (const name of ["stdout", "stderr"] as const) {
    child[name].on("data", (bytes: Buffer) => {
      output[name] += bytes.toString();
    });
  }
  child.once("close", (code, signal) => {
    Deferred.doneUnsafe(ended, Exit.succeed({ code, signal }));
  });
  return {
    pid: child.pid ?? 0,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    /** Its own messages, as RunPod's console reads them. */
    logs: () => output.stderr.split("\n").flatMap((line) => Option.toArray(decodeLine(line))),
    signal: (name: NodeJS.Signals) => Effect.sync(() => child.kill(name)),
    signalGroup: (name: NodeJS.Signals) => Effect.sync(() => signalGroup(child, name)),
    ended: Deferred.await(ended),
  };
});

/** All processes below one, by what the kernel says. */
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
