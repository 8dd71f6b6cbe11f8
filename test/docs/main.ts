import { readFileSync, writeFileSync } from "node:fs";

import { NodeRuntime } from "@effect/platform-node";
import { Effect } from "effect";

import { GENERATED_FILES, withGenerated } from "./Generated.ts";

Effect.forEach(
  GENERATED_FILES,
  Effect.fnUntraced(function* (file) {
    writeFileSync(file, yield* withGenerated(file, readFileSync(file, "utf8")));
  }),
  { discard: true },
).pipe(NodeRuntime.runMain);
