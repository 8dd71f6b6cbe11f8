import { readdirSync, readFileSync } from "node:fs";

import { Result } from "effect";

/** The environment variable that marks all descendants of a runner, also those in another group or session. */
const MARK = "WORKER_TETRA_RUNNER";

/** Environment variables with the mark of a runner. */
export const markedEnvironment = (
  environment: Readonly<Record<string, string>>,
  mark: string,
): Readonly<Record<string, string>> => ({ ...environment, [MARK]: mark });

const killPid = (pid: number) => Result.try(() => process.kill(pid, "SIGKILL"));

/** Kills processes that left the process group (daemons) by the mark in their environment. */
const killMarked = (mark: string): void => {
  const entries = Result.getOrElse(
    Result.try(() => readdirSync("/proc")),
    (): ReadonlyArray<string> => [],
  );
  for (const entry of entries) {
    if (!/^\d+$/.test(entry)) continue;
    const environment = Result.try(() => readFileSync(`/proc/${entry}/environ`, "latin1"));
    if (Result.isSuccess(environment) && environment.success.includes(`${MARK}=${mark}`)) {
      killPid(Number(entry));
    }
  }
};

/** Sends SIGKILL to a runner, its process group, and all of its descendants. */
export const killTree = (pid: number, mark: string): void => {
  killPid(-pid);
  killMarked(mark);
};
