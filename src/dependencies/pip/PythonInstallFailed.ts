import { Schema } from "effect";

import { isAboutFullDisk } from "../../platform/files/DiskFault.ts";
import { withoutCredentials } from "../../settings/Credentials.ts";
import { bothEnds, lastLines, namesOf } from "../ToolOutput.ts";

/** The number of last lines of uv's output that are shown; they contain the error. */
const MAX_LINES = 30;

const REASONS = {
  unknown: "no package index has it, or not in this version",
  conflicting: "the requirements conflict with each other",
  unreachable: "the package index or the URL can't be reached",
  unbuildable: "building it from source failed",
  full: "the disk is full, or the quota of the volume is used up",
  timeout: "it took longer than WORKER_INSTALL_TIMEOUT allows",
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
      "timeout",
      "other",
    ]),
    /** The output of uv. */
    output: Schema.String,
  },
) {
  /** Derives the reason from the output of uv. */
  static from(requirements: ReadonlyArray<string>, output: string): PythonInstallFailed {
    return new PythonInstallFailed({ requirements, reason: reasonOf(output), output });
  }

  override get message(): string {
    const lines = lastLines(withoutCredentials(this.output), MAX_LINES);
    const names = namesOf(this.requirements.map(withoutCredentials));
    return `The packages ${names} could not be installed: ${REASONS[this.reason]}.${lines === "" ? "" : `\n${lines}`}`;
  }
}

/** Not a regular expression: that would scan the rest of a line again for each "only " in it. */
const hasOnlyOtherVersions = (output: string): boolean =>
  output.split("\n").some((line) => {
    const at = line.indexOf("only ");
    return at !== -1 && line.includes(" is available", at);
  });

const reasonOf = (fullOutput: string): PythonInstallFailed["reason"] => {
  const output = bothEnds(fullOutput);
  if (isAboutFullDisk(output)) return "full";
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
