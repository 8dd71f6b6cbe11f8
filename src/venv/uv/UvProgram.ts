import { Duration, Effect, FileSystem, Option } from "effect";

import { absoluteFolders, findFile, isFile } from "../../platform/ProgramPath.ts";
import { Programs } from "../../platform/Programs.ts";
import { Environment } from "../../settings/Environment.ts";
import { uvInstallation } from "./UvInstallation.ts";

/** Linux ends a program with the one that started it, if that is asked for. */
const WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"] as const;

/** Finds the program, with the words before it that make it end with the worker where the system can do that. */
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

  // A failure is tried again by the next caller.
  const [found, invalidate] = yield* Effect.cachedInvalidateWithTTL(find, Duration.infinity);
  const command = Effect.tapError(found, () => invalidate);

  const [setpriv, ...itsArgs] = WITH_PARENT;
  const canEndWithParent = yield* Effect.cached(
    programs.run(setpriv, [...itsArgs, "true"]).pipe(
      Effect.as(true),
      Effect.orElseSucceed(() => false),
    ),
  );

  const isOnPath = (program: string) =>
    Effect.map(findFile(files, folders, program), Option.isSome);

  return {
    command,

    /** By running the programs. */
    verified: Effect.map(Effect.all([command, canEndWithParent]), ([uv, can]) =>
      can ? [...WITH_PARENT, uv] : [uv],
    ),

    /** As far as files show, since running the programs takes as long as some of uv's work; none if uv is missing. */
    likely: yield* Effect.cached(
      Effect.gen(function* () {
        const before = (yield* isOnPath(setpriv)) ? WITH_PARENT : [];
        if (yield* isOnPath("uv")) return Option.some([...before, "uv"]);
        const isInstalled = yield* isFile(files, installation.command);
        return isInstalled ? Option.some([...before, installation.command]) : Option.none();
      }),
    ),
  };
});
