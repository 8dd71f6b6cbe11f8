import { Schema } from "effect";

import type { ProgramFailed } from "../../platform/programs/Programs.ts";
import { lastLines, namesOf } from "../ToolOutput.ts";

/** The number of last lines of a tool's output that are shown; they contain the error. */
const MAX_LINES = 20;

/** apt's error message if another program has the lock, with its process. */
const LOCKED = /Could not get lock \S+?\.?(?: It is held by process (\d+ \([^)]{0,100}\)))?$/m;

/** apt's error messages if its lists are outdated. */
const OUTDATED = /Unable to locate package|404 +Not Found/;

/** apt's error message for an unknown name. */
export const notLocated = (name: string): string => `E: Unable to locate package ${name}`;

/** apt's error message for an unknown version. */
export const versionNotFound = (name: string, version: string): string =>
  `E: Version '${version}' for '${name}' was not found`;

const KNOWN: ReadonlyArray<readonly [pattern: RegExp, reason: string]> = [
  [/Version '[^'\n]{1,300}' for '[^'\n]{1,300}' was not found/, "that version is not available"],
  [
    /has no installation candidate|is a virtual package/,
    "it is a virtual package, or this release does not have it any more. Use a package that provides it",
  ],
  [/No space left|enough free space/, "the container's disk is full. Use a larger one"],
  [
    /Temporary failure resolving|Could not connect|Connection failed|Failed to fetch/,
    "the package mirrors can't be reached",
  ],
  [
    /unmet dependencies|held broken packages/,
    "they conflict with each other or with installed packages",
  ],
];

const reasonOf = ({ exitCode, output }: ProgramFailed): string => {
  const unknown = [...output.matchAll(/Unable to locate package (\S+)/g)].flatMap(([, name]) =>
    name === undefined ? [] : [name],
  );
  if (unknown.length > 0) {
    return `there is no package named ${namesOf(unknown)} in this image's Debian or Ubuntu release`;
  }
  const locked = LOCKED.exec(output);
  if (locked !== null) {
    return `another program holds the lock of apt or dpkg (process ${locked[1] ?? "unknown"})`;
  }
  const known = KNOWN.find(([pattern]) => pattern.test(output));
  if (known !== undefined) return known[1];
  return exitCode === undefined
    ? "apt-get was killed by a signal. If memory ran out, use a larger machine"
    : `apt-get exited with code ${exitCode}`;
};

/** Whether another program has the lock. */
export const isLocked = ({ output }: ProgramFailed): boolean => LOCKED.test(output);

/** Whether the lists of packages may be outdated. */
export const isOutdated = ({ output }: ProgramFailed): boolean => OUTDATED.test(output);

/** Whether an earlier dpkg was interrupted and must be completed first. */
export const wasInterrupted = ({ output }: ProgramFailed): boolean =>
  output.includes("dpkg --configure -a");

/** Debian packages could not be installed. */
export class SystemInstallFailed extends Schema.TaggedError<SystemInstallFailed>()(
  "SystemInstallFailed",
  {
    packages: Schema.Array(Schema.String),
    reason: Schema.String,
    /** The output of apt. */
    output: Schema.String,
  },
) {
  /** Derives the reason from the output of apt. */
  static from(packages: ReadonlyArray<string>, failure: ProgramFailed): SystemInstallFailed {
    const { output } = failure;
    return new SystemInstallFailed({ packages, reason: reasonOf(failure), output });
  }

  override get message(): string {
    const lines = lastLines(this.output, MAX_LINES);
    return `The system packages ${namesOf(this.packages)} could not be installed: ${this.reason}.${lines === "" ? "" : `\n${lines}`}`;
  }
}
