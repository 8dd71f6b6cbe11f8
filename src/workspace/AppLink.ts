import { randomUUID } from "node:crypto";

import { Effect, FileSystem, Option, Path } from "effect";

import { diskFault } from "../platform/files/DiskFault.ts";

/** `/app/.venv` for programs that have that path built in: nothing but a link is ever replaced. */
export const linkApp = Effect.fn("Workspace.linkApp")(
  function* (appPath: string, directory: string) {
    const files = yield* FileSystem.FileSystem;
    const path = yield* Path.Path;
    if (path.resolve(appPath) === path.resolve(directory)) return;
    if (!(yield* files.exists(appPath))) return;
    const link = path.join(appPath, ".venv");
    const target = path.join(directory, ".venv");
    const current = yield* Effect.option(files.readLink(link));
    if (Option.contains(current, target)) return;
    if (Option.isNone(current) && (yield* files.exists(link))) {
      return yield* Effect.logWarning(`${link} is a folder of its own and stays as it is`);
    }
    const temporary = `${link}-${randomUUID()}`;
    yield* files.symlink(target, temporary);
    yield* files
      .rename(temporary, link)
      .pipe(Effect.onError(() => Effect.ignore(files.remove(temporary))));
  },
  (effect, appPath) =>
    Effect.catch(effect, (error) =>
      Effect.logWarning(diskFault(`${appPath}/.venv`, "can't be made a link")(error).message),
    ),
);
