import { join, resolve } from "node:path";

import { Effect, type FileSystem, Option } from "effect";

import { replaceLink } from "../../platform/files/AtomicFile.ts";
import { diskFault } from "../../platform/files/DiskFault.ts";

/** Links `/app/.venv` to the venv, for programs with that path built in. Never replaces a file or a folder. */
export const linkApp = Effect.fn("Workspace.linkApp")(
  function* (files: FileSystem.FileSystem, appPath: string, directory: string) {
    if (resolve(appPath) === resolve(directory)) return;
    if (!(yield* files.exists(appPath))) return;
    const link = join(appPath, ".venv");
    const target = join(directory, ".venv");
    const current = yield* Effect.option(files.readLink(link));
    if (Option.contains(current, target)) return;
    if (Option.isNone(current) && (yield* files.exists(link))) {
      return yield* Effect.logWarning(`${link} is not a link: leaving it unchanged`);
    }
    yield* replaceLink(files, link, target);
  },
  (effect, _files, appPath) =>
    Effect.catch(effect, (error) =>
      Effect.logWarning(diskFault(`${appPath}/.venv`, "can't be created as a link")(error).message),
    ),
);
