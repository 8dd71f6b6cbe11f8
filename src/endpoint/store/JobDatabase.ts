import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";

import { Predicate, Result } from "effect";

import { JobStoreUnusable, unusable } from "./JobStoreUnusable.ts";
import { checkFile, checkFolder, createFile } from "./StoreFolder.ts";

export const FILE = "jobs.sqlite";
const SIDE_FILES = ["-wal", "-shm", "-journal"];

/** Identifies databases of this program ("wtjq"), and the version of their tables. */
const APPLICATION_ID = 0x77746a71;
const SCHEMA_VERSION = 1;

/** SQLite's error code for a database that another process has locked. */
const SQLITE_BUSY = 5;

const OPTIONS = [
  // The lock is held until the database is closed or its process dies, so that no second server can use the folder.
  "locking_mode = EXCLUSIVE",
  "trusted_schema = OFF",
  // Halves the time for large values.
  "page_size = 32768",
  "journal_mode = WAL",
  // A commit is in the page cache, so that it survives a killed process. A power failure may lose the last ones, which
  // is acceptable for a queue on one machine: a sync for each job would block the event loop until the disk has
  // finished.
  "synchronous = NORMAL",
  // In pages: 4 MiB.
  "wal_autocheckpoint = 128",
].map((option) => `PRAGMA ${option};`);

const TABLES = `
CREATE TABLE jobs (
  id TEXT PRIMARY KEY,
  status TEXT NOT NULL,
  submitted REAL NOT NULL,
  started REAL,
  ended REAL,
  retries INTEGER NOT NULL
) STRICT;
CREATE TABLE pieces (
  job TEXT NOT NULL,
  kind TEXT NOT NULL,
  number INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (job, kind, number)
) STRICT;
PRAGMA application_id = ${APPLICATION_ID};
PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** Loads SQLite without the warning of Node before 24 that it is experimental. */
const loadSqlite = () => {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return process.getBuiltinModule("node:sqlite");
  } finally {
    process.emitWarning = emitWarning;
  }
};

const numberIn = (database: DatabaseSync, query: string): number => {
  const [value] = Object.values(database.prepare(query).get() ?? {});
  return Number(value);
};

/** Sets up an open database; throws if it does not belong to this program. */
const setUp = (database: DatabaseSync, path: string): void => {
  const id = numberIn(database, "PRAGMA application_id");
  const version = numberIn(database, "PRAGMA user_version");
  const isEmpty = numberIn(database, "SELECT count(*) FROM sqlite_schema") === 0;
  if (!isEmpty && id !== APPLICATION_ID) {
    throw unusable(path, "it is a database of another program. Choose another folder.");
  }
  if (version > SCHEMA_VERSION) {
    throw unusable(
      path,
      `it was created by a newer version of this program (schema version ${version}, supported ${SCHEMA_VERSION}). Use that version, or choose another folder.`,
    );
  }
  database.exec(OPTIONS.join(""));
  database.exec(isEmpty ? `BEGIN EXCLUSIVE;${TABLES}COMMIT` : "BEGIN EXCLUSIVE;COMMIT");
};

const codeOf = (error: unknown): number | undefined =>
  Predicate.hasProperty(error, "errcode") && typeof error.errcode === "number"
    ? error.errcode
    : undefined;

export const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

/** Describes an error of SQLite, and what to do. */
export const reasonOf = (path: string, error: unknown): JobStoreUnusable => {
  if (error instanceof JobStoreUnusable) return error;
  const code = codeOf(error);
  if (code === undefined) {
    return unusable(path, `${messageOf(error)}. Choose another folder.`);
  }
  // The lowest byte is the primary error code; the others have details.
  return (code & 0xff) === SQLITE_BUSY
    ? unusable(
        path,
        "it is in use by another server. Stop that server, or choose another folder.",
        true,
      )
    : unusable(
        path,
        `it is not a readable database (${messageOf(error)}). It was not changed: move it to start with an empty one, or choose another folder.`,
      );
};

/** Opens the database in a folder; every file is checked before it is changed. */
export const openDatabase = (folder: string): Result.Result<DatabaseSync, JobStoreUnusable> => {
  const path = join(folder, FILE);
  return Result.try({
    try: () => {
      checkFolder(folder);
      for (const suffix of SIDE_FILES) checkFile(path + suffix);
      if (!checkFile(path)) createFile(path);
      const { DatabaseSync } = loadSqlite();
      const database = new DatabaseSync(path, { timeout: 0 });
      try {
        setUp(database, path);
      } catch (error) {
        database.close();
        throw error;
      }
      return database;
    },
    catch: (error) => reasonOf(path, error),
  });
};
