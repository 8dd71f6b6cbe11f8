import { Effect, FileSystem } from "effect";

import { sitePackages, type Venv } from "./Venv.ts";
import { parseRecord } from "./image/ImagePackages.ts";

/** The versions of the packages in a virtual environment by their normalized names, including those of the image. */
export const installedPackages = Effect.fnUntraced(function* ({
  prefix,
  version,
}: Pick<Venv, "prefix" | "version">) {
  const files = yield* FileSystem.FileSystem;
  const records = yield* Effect.orElseSucceed(
    files.readDirectory(sitePackages(prefix, version)),
    (): ReadonlyArray<string> => [],
  );
  return new Map(
    records.flatMap((record) => {
      const found = parseRecord(record);
      return found === undefined ? [] : [found];
    }),
  );
});
