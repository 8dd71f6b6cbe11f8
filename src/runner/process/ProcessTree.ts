import { readdirSync, readFileSync } from "node:fs";

import { Result } from "effect";

/** Marks everything that descends from one runner, whatever group or session it is in, by its environment. */
const MARK = "WORKER_TETRA_RUNNER";

/** The variables of a runner whose descendants can be found by this mark. */
export const markedEnvironment = (
  environment: Readonly<Record<string, string>>,
  mark: string,
): Readonly<Record<string, string>> => ({ ...environment, [MARK]: mark });

const killPid = (pid: number) => Result.try(() => process.kill(pid, "SIGKILL"));

/** Processes that left the group (daemons) still have the mark in their environment. */
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
