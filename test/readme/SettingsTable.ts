// Loading the program's rooms declares their settings.
import "../../src/cli/CommandLine.ts";
import "../../src/cli/process/Logging.ts";
import { declared } from "../../src/settings/Setting.ts";

const BEGIN = "<!-- settings: made by `npm run readme` -->";
const END = "<!-- /settings -->";

/** The README's table of settings, from their declarations. */
const settingsTable = (): string =>
  [
    "| variable | what it is for | a value | default |",
    "|---|---|---|---|",
    ...declared().map(
      ({ name, doc, expected, fallback }) => `| \`${name}\` | ${doc} | ${expected} | ${fallback} |`,
    ),
  ].join("\n");

/** The text with the table in its place. */
export const withSettings = (readme: string): string => {
  const [before, rest = ""] = readme.split(BEGIN);
  const [, after] = rest.split(END);
  return `${before}${BEGIN}\n${settingsTable()}\n${END}${after}`;
};
