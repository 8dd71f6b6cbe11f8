import { readFileSync, writeFileSync } from "node:fs";

import { NodeRuntime } from "@effect/platform-node";
import { Effect } from "effect";

import { withCommands } from "./CommandHelp.ts";
import { withSettings } from "./SettingsTable.ts";

withCommands(withSettings(readFileSync("README.md", "utf8"))).pipe(
  Effect.map((text) => writeFileSync("README.md", text)),
  NodeRuntime.runMain,
);
