import { Duration, Effect, type FileSystem, Option } from "effect";

import { wallMillis } from "../../settings/SteadyClock.ts";

/** Days since the last modification of any of these files; none if no file exists. */
export const idleDays = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  paths: ReadonlyArray<string>,
) {
  const now = yield* wallMillis;
  const times = yield* Effect.forEach(paths, (path) =>
    Effect.option(Effect.map(files.lstat(path), ({ mtime }) => mtime)),
  );
  const newest = Math.max(
    ...times.flatMap((time) =>
      Option.toArray(Option.map(Option.flatten(time), (date) => date.getTime())),
    ),
  );
  return Number.isFinite(newest)
    ? Option.some(Duration.toDays(Duration.millis(now - newest)))
    : Option.none<number>();
});
