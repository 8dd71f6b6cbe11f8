import { createHash } from "node:crypto";

import { Schema } from "effect";

import { RelativePath } from "../RelativePath.ts";

/** Jobs can write the lists, and the worker removes damaged archives: a name must not be the path of another file. */
const ArchiveName = Schema.String.pipe(
  Schema.check(Schema.isPattern(/^[0-9a-f]{64}\.tar(\.zst)?$/)),
);

/** Identifies a list, such as the requirements of a virtual environment. */
export const stateOf = (list: ReadonlyArray<string>): string =>
  createHash("sha256").update(JSON.stringify(list)).digest("hex");

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

/**
 * What jobs import, in one archive: a copy is ready when it is unpacked, and has links to the rest until that is unpacked
 * from the archives of packages.
 */
export const StartArchive = Schema.Struct({
  ...Archive.fields,
  /** Identifies the folders of modules that it was made for. */
  key: Schema.String,
  /** Paths that a copy made of it links to the virtual environment. */
  links: Schema.Array(RelativePath),
});
export type StartArchive = typeof StartArchive.Type;

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
  /** Absent if it is not known what jobs import. */
  start: Schema.optionalKey(StartArchive),
});
export type Archives = typeof Archives.Type;

/** A copy with up to this size and number of files is made of one archive. */
const MAX_SINGLE_BYTES = 32 * 1024 ** 2;
const MAX_SINGLE_FILES = 2000;

/** The number of files in archives, and their size in bytes. */
export const totalOf = ({ packages, others }: Pick<Archives, "packages" | "others">) =>
  [...packages, others].reduce(
    (sum, { files, size }) => ({ files: sum.files + files, size: sum.size + size }),
    { files: 0, size: 0 },
  );

/** What the start archive of a virtual environment contains; none if it is not known what jobs import. */
export const startContent = (
  archives: Archives,
  folders: ReadonlyArray<string>,
): { readonly key: string; readonly folders: ReadonlyArray<string> | null } | undefined => {
  const { files, size } = totalOf(archives);
  if (files <= MAX_SINGLE_FILES && size <= MAX_SINGLE_BYTES) return { key: "all", folders: null };
  return folders.length === 0 ? undefined : { key: stateOf(folders), folders };
};

/** What a copy made of the start archive links until it is complete. */
export const deferredIn = (start: StartArchive, links: ReadonlyArray<string>) => {
  const remaining = new Set(links);
  return start.links.filter((path) => !remaining.has(path));
};

/** The packages of a virtual environment, all of which are compiled. */
const PackageList = Schema.Struct({
  /** Identifies the requirements whose packages are listed. */
  state: Schema.String,
  /** Absent if they are not packed. */
  archives: Schema.optionalKey(Archives),
});
export type PackageList = typeof PackageList.Type;

export const decodePackageList = Schema.decodeUnknownOption(Schema.fromJsonString(PackageList));

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
