import { Effect } from "effect";

import { runCommandLine } from "../support/processes/CommandLineRun.ts";

const COMMANDS = ["start", "run", "serve", "invoke", "doctor", "prune"];

/** The help of a command, without the flags that all commands have. */
const helpOf = Effect.fnUntraced(function* (command: string) {
  const { stdout } = yield* runCommandLine([command, "--help"], {});
  const help = stdout
    .replace(/\nGLOBAL FLAGS\n[^]*?\n\n/, "\n")
    .replaceAll(/[ \t]+$/gm, "")
    .trim();
  return `## ${command}\n\n\`\`\`text\n${help}\n\`\`\``;
});

/** The help of every command, as a section each. */
export const commandHelp = Effect.map(Effect.forEach(COMMANDS, helpOf), (sections) =>
  sections.join("\n\n"),
);
