import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { Effect } from "effect";

import { temporaryFolder } from "./TemporaryFolder.ts";

/** A JSON file with this content, which is removed when the scope closes. */
export const requestFile = (content: unknown) =>
  Effect.map(temporaryFolder, (folder) => {
    const file = join(folder, "request.json");
    writeFileSync(file, JSON.stringify(content));
    return file;
  });
