import { join } from "node:path";

import { Duration, Effect, type FileSystem, Option, Schedule } from "effect";

import { ProgramFailed, type Programs } from "../../platform/programs/Programs.ts";
import { wallMillis } from "../../settings/SteadyClock.ts";
import { problemsOf } from "./AptOutput.ts";
import { wasInterrupted, isLocked } from "./SystemInstallFailed.ts";

/** Lists older than this may name versions that mirrors have dropped. */
const MAX_LISTS_AGE = Duration.days(1);

/** The number of retries, one per second, while another program has the lock. */
const MAX_RETRIES_WHILE_LOCKED = 120;

/** Disables questions and progress bars. */
export const QUIET = { DEBIAN_FRONTEND: "noninteractive" } as const;

/** Runs apt-get. Waits for the lock of another program, and completes an install that was interrupted. */
export const aptGet = (programs: Programs["Service"], args: ReadonlyArray<string>) => {
  const run = programs.run("apt-get", ["-q", "-o", "Dpkg::Use-Pty=0", ...args], {
    environment: QUIET,
    live: { stream: "stdout", name: "apt" },
  });
  return run.pipe(
    Effect.catchIf(wasInterrupted, () =>
      Effect.logWarning("An earlier install was interrupted; running dpkg --configure -a").pipe(
        Effect.andThen(programs.run("dpkg", ["--configure", "-a"], { environment: QUIET })),
        Effect.andThen(run),
      ),
    ),
    Effect.retry({
      while: isLocked,
      schedule: Schedule.spaced("1 second"),
      times: MAX_RETRIES_WHILE_LOCKED,
    }),
  );
};

/** Whether the folder has lists of packages that apt updated recently. */
export const areListsFresh = (files: FileSystem.FileSystem, lists: string) =>
  Effect.gen(function* () {
    const names = yield* files.readDirectory(lists);
    if (!names.some((name) => name.includes("_Packages"))) return false;
    // The files have the modification times of the mirrors, but every download changes this folder.
    const { mtime } = yield* files.stat(join(lists, "partial"));
    const now = yield* wallMillis;
    return Option.exists(mtime, (date) =>
      Duration.isLessThan(Duration.millis(now - date.getTime()), MAX_LISTS_AGE),
    );
  }).pipe(Effect.orElseSucceed(() => false));

/** Fails like apt-get unless each name is the exact name of a package. */
export const checkNames = Effect.fnUntraced(function* (
  programs: Programs["Service"],
  names: ReadonlyArray<string>,
  options: ReadonlyArray<string>,
) {
  // apt-cache does not accept `name=version`.
  const plain = new Set(names.map((name) => name.replace(/=.*/, "")));
  const args = [...options, "policy", "--", ...plain];
  const policy = yield* programs.run("apt-cache", args, { environment: QUIET });
  const output = problemsOf(names, policy);
  if (output === "") return;
  return yield* new ProgramFailed({ command: "apt-cache", args, exitCode: 100, output });
});
