import { createHash } from "node:crypto";

import { Schema } from "effect";

import { RelativePath } from "../RelativePath.ts";

/** Jobs can write the lists, and the worker removes damaged archives: a name must not be the path of another file. */
const ArchiveName = Schema.String.pipe(
  Schema.check(Schema.isPattern(/^[0-9a-f]{64}\.tar(\.zst)?$/)),
);

/** An archive and what it contains. */
export const Archive = Schema.Struct({
  /** The name of its file. */
  archive: ArchiveName,
  /** Number of files. */
  files: Schema.Int,
  /** Size of the files, in bytes. */
  size: Schema.Int,
});
export type Archive = typeof Archive.Type;

export const decodeArchive = Schema.decodeUnknownOption(Schema.fromJsonString(Archive));

/** What the copies of a virtual environment are made of. */
const Archives = Schema.Struct({
  packages: Schema.Array(
    Schema.Struct({
      ...Archive.fields,
      /** The name of the package's `.dist-info` folder. */
      record: Schema.String,
    }),
  ),
  /** Files that belong to no package. */
  others: Archive,
  /** Paths that copies link to the virtual environment, such as large files. */
  links: Schema.Array(RelativePath),
});
export type Archives = typeof Archives.Type;

/** The packages of a virtual environment, all of which are compiled. */
const PackageList = Schema.Struct({
  /** Identifies the requirements whose packages are listed. */
  state: Schema.String,
  /** Absent if they are not packed. */
  archives: Schema.optionalKey(Archives),
});
export type PackageList = typeof PackageList.Type;

export const decodePackageList = Schema.decodeUnknownOption(Schema.fromJsonString(PackageList));

/** The state of a virtual environment with these requirements. */
export const stateOf = (requirements: ReadonlyArray<string>): string =>
  createHash("sha256").update(JSON.stringify(requirements)).digest("hex");

/** A package in a virtual environment. */
const SurveyedPackage = Schema.Struct({
  record: Schema.String,
  name: Schema.String,
  version: Schema.String,
  /** Whether its archive, found by name and version, can be used in other virtual environments. */
  isShareable: Schema.Boolean,
});
export type SurveyedPackage = typeof SurveyedPackage.Type;

export const Survey = Schema.Struct({
  packages: Schema.Array(SurveyedPackage),
  links: Schema.Array(Schema.String),
});
