import { Effect } from "effect";

import { runCommandLine } from "../support/processes/CommandLineRun.ts";

const BEGIN = "<!-- commands: made by `npm run readme` -->";
const END = "<!-- /commands -->";

const COMMANDS = ["start", "run", "serve", "invoke", "doctor", "prune"];

/** What a command says of itself, without what all of them share and without its title. */
const helpOf = Effect.fnUntraced(function* (command: string) {
  const { stdout } = yield* runCommandLine([command, "--help"], {});
  return stdout
    .replace(/\nGLOBAL FLAGS\n[^]*?\n\n/, "\n")
    .replaceAll(/[ \t]+$/gm, "")
    .trim();
});

/** The text with every command's help in its place. */
export const withCommands = Effect.fnUntraced(function* (readme: string) {
  const [before, rest = ""] = readme.split(BEGIN);
  const [, after] = rest.split(END);
  const helps = yield* Effect.forEach(COMMANDS, helpOf);
  return `${before}${BEGIN}\n\`\`\`text\n${helps.join("\n\n\n")}\n\`\`\`\n${END}${after}`;
});
