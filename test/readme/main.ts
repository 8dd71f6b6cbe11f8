import { readFileSync, writeFileSync } from "node:fs";

import { withSettings } from "./SettingsTable.ts";

writeFileSync("README.md", withSettings(readFileSync("README.md", "utf8")));
