// Importing these modules declares all settings.
import "../../src/cli/CommandLine.ts";
import "../../src/cli/process/Logging.ts";
import { declared } from "../../src/settings/Setting.ts";

/** The table of settings, from their declarations. */
export const settingsTable = (): string =>
  [
    "| variable | purpose | value | default |",
    "|---|---|---|---|",
    ...declared().map(
      ({ name, doc, expected, fallback }) => `| \`${name}\` | ${doc} | ${expected} | ${fallback} |`,
    ),
  ].join("\n");
