import { Duration, Effect, FileSystem, Option } from "effect";

import { absoluteFolders, findFile, isFile } from "../../platform/programs/ProgramPath.ts";
import { Programs } from "../../platform/programs/Programs.ts";
import { Environment } from "../../settings/Environment.ts";
import { uvInstallation } from "./UvInstallation.ts";

/** On Linux, makes the kernel kill the program when its parent ends. */
const KILL_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"] as const;

/** Finds the command line of uv, prefixed so that uv is killed when the worker ends, where that is possible. */
export const uvProgram = Effect.gen(function* () {
  const programs = yield* Programs;
  const files = yield* FileSystem.FileSystem;
  const { forPrograms } = yield* Environment;
  const installation = yield* uvInstallation;
  const folders = absoluteFolders(forPrograms["PATH"] ?? "");

  const find = Effect.gen(function* () {
    for (const program of ["uv", installation.command]) {
      if (yield* installation.isRunnable(program)) return program;
    }
    return yield* installation.install();
  }).pipe(Effect.withSpan("Uv.find"));

  // A failure is not cached: the next caller retries.
  const [found, invalidate] = yield* Effect.cachedInvalidateWithTTL(find, Duration.infinity);
  const command = Effect.tapError(found, () => invalidate);

  const [setpriv, ...setprivArgs] = KILL_WITH_PARENT;
  const canKillWithParent = yield* Effect.cached(
    programs.run(setpriv, [...setprivArgs, "true"]).pipe(
      Effect.as(true),
      Effect.orElseSucceed(() => false),
    ),
  );

  const isOnPath = (program: string) =>
    Effect.map(findFile(files, folders, program), Option.isSome);

  return {
    command,

    /** The command line, verified by running the programs. */
    verified: Effect.map(Effect.all([command, canKillWithParent]), ([uv, isPossible]) =>
      isPossible ? [...KILL_WITH_PARENT, uv] : [uv],
    ),

    /** The likely command line, found without running the programs, which is slow; none if uv is missing. */
    likely: yield* Effect.cached(
      Effect.gen(function* () {
        const before = (yield* isOnPath(setpriv)) ? KILL_WITH_PARENT : [];
        if (yield* isOnPath("uv")) return Option.some([...before, "uv"]);
        const isInstalled = yield* isFile(files, installation.command);
        return isInstalled ? Option.some([...before, installation.command]) : Option.none();
      }),
    ),
  };
});
