import { Schema } from "effect";

import { withoutCredentials } from "../../settings/Credentials.ts";
import { bothEnds, lastLines, namesOf } from "../ToolOutput.ts";

/** How many of the last lines of a tool's output are shown; they have the error. */
const MAX_LINES = 30;

const REASONS = {
  unknown: "no index has it, or not in that version",
  conflicting: "the requirements contradict each other",
  unreachable: "the package index or the address can't be reached",
  unbuildable: "it has to be built here, and that fails",
  full: "the disk is full, or the volume's quota used up",
  late: "it took longer than WORKER_INSTALL_TIMEOUT allows",
  other: "uv failed",
} as const;

/** The Python packages of a job could not be installed. */
export class PythonInstallFailed extends Schema.TaggedError<PythonInstallFailed>()(
  "PythonInstallFailed",
  {
    requirements: Schema.Array(Schema.String),
    reason: Schema.Literals([
      "unknown",
      "conflicting",
      "unreachable",
      "unbuildable",
      "full",
      "late",
      "other",
    ]),
    /** The output of uv. */
    output: Schema.String,
  },
) {
  /** The error for these requirements by the output of uv. */
  static from(requirements: ReadonlyArray<string>, output: string): PythonInstallFailed {
    return new PythonInstallFailed({ requirements, reason: reasonOf(output), output });
  }

  override get message(): string {
    const said = lastLines(withoutCredentials(this.output), MAX_LINES);
    const names = namesOf(this.requirements.map(withoutCredentials));
    return `The packages ${names} could not be installed: ${REASONS[this.reason]}.${said === "" ? "" : `\n${said}`}`;
  }
}

/** A regular expression would scan the rest of a line again for each of these words in it. */
const hasOnlyOtherVersions = (output: string): boolean =>
  output.split("\n").some((line) => {
    const at = line.indexOf("only ");
    return at !== -1 && line.includes(" is available", at);
  });

const reasonOf = (words: string): PythonInstallFailed["reason"] => {
  const output = bothEnds(words);
  if (/No space left|Disk quota exceeded/i.test(output)) return "full";
  if (/Failed to build|build backend|compil/i.test(output)) return "unbuildable";
  if (
    /was not found in the package registry|there (?:is|are) no versions? of/.test(output) ||
    hasOnlyOtherVersions(output)
  ) {
    return "unknown";
  }
  if (/No solution found|unsatisfiable|conflict/i.test(output)) return "conflicting";
  if (
    /error sending request|Failed to (?:fetch|download)|dns error|timed out|Connection/i.test(
      output,
    )
  ) {
    return "unreachable";
  }
  return "other";
};
