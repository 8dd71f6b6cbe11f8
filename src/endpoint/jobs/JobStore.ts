import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  type Stats,
} from "node:fs";
import { join, resolve } from "node:path";
import type { DatabaseSync, SQLOutputValue } from "node:sqlite";

import {
  Context,
  Effect,
  Layer,
  Option,
  Predicate,
  Result,
  Schedule,
  Schema,
  Semaphore,
} from "effect";

import { JobStatus } from "../../domain/EndpointJob.ts";
import { diskFault } from "../../platform/files/DiskFault.ts";
import { makeFolders } from "../../platform/files/SafePaths.ts";

/** The state of a job of a local queue; times are milliseconds since 1970. */
const JobState = Schema.Struct({
  id: Schema.String.check(Schema.isPattern(/^[\w-]{1,100}$/)),
  status: JobStatus,
  submitted: Schema.Finite,
  started: Schema.NullOr(Schema.Finite),
  ended: Schema.NullOr(Schema.Finite),
  retries: Schema.Int,
});

/** A job of a local queue as it is kept. */
export interface KeptJob {
  readonly state: typeof JobState.Type;
  /** The JSON text of its request, as it came; empty once it can't run again. */
  readonly request: Uint8Array;
  /** The JSON text with its `output` or `error`. */
  readonly result: Uint8Array | undefined;
}

/** The folder or the database can't be used. Nothing in it was changed. */
export class JobStoreUnusable extends Schema.TaggedError<JobStoreUnusable>()("JobStoreUnusable", {
  path: Schema.String,
  reason: Schema.String,
  /** Another process uses it, perhaps one that is about to exit. */
  isBusy: Schema.Boolean,
}) {
  override get message(): string {
    return `Jobs can't be kept in ${this.path}: ${this.reason}`;
  }
}

const FILE = "jobs.sqlite";
const SIDE_FILES = ["-wal", "-shm", "-journal"];
const PRIVATE_FILE = 0o600;
const PRIVATE_FOLDER = 0o700;
const GROUP_AND_OTHERS = 0o077;
const WRITABLE_BY_OTHERS = 0o022;

/** Identifies our databases: "wtjq", and the version of the tables. */
const APPLICATION_ID = 0x77746a71;
const SCHEMA_VERSION = 1;

/** SQLite's error code for a database that another process has locked. */
const SQLITE_BUSY = 5;

/** How long to wait for a process that is about to end. */
const BUSY_RETRIES = Schedule.max([Schedule.spaced("100 millis"), Schedule.recurs(30)]);

/**
 * Requests and results are written in pieces of this many bytes, one statement each: SQLite's calls are
 * synchronous, and 10 MB at once blocked the event loop for up to 0.2 seconds.
 */
const PIECE = 512 * 1024;

const OPTIONS = [
  // Kept until the database is closed or its process dies: a second server on the folder is refused.
  "locking_mode = EXCLUSIVE",
  "trusted_schema = OFF",
  // Half the time for large values.
  "page_size = 32768",
  "journal_mode = WAL",
  // A commit is in the system's memory, so no killed process loses it; a power cut may cost the last ones, which is
  // cheap for a queue on one machine: a sync for each job would block the event loop for as long as the disk takes.
  "synchronous = NORMAL",
  // 4 MiB.
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

const unusable = (path: string, reason: string, isBusy = false) =>
  new JobStoreUnusable({ path, reason, isBusy });

const unwritable = (folder: string, problem: string, error: unknown) =>
  unusable(folder, diskFault(folder, problem)(error).message);

const lstat = (path: string): Stats | undefined => lstatSync(path, { throwIfNoEntry: false });

const isOurs = ({ uid }: Stats): boolean => uid === process.getuid?.();

const makeFolder = (folder: string) =>
  Effect.tryPromise({
    try: () => makeFolders([], folder, PRIVATE_FOLDER),
    catch: (error) => unwritable(folder, "can't be made", error),
  });

/** Checks that this user, and no other one, can write to a folder. */
const checkFolder = (folder: string): void => {
  const stats = lstat(folder);
  if (stats?.isDirectory() !== true) {
    throw unusable(
      folder,
      stats?.isSymbolicLink() === true
        ? "it is not a folder but a link. Name the folder itself."
        : "it is not a folder. Choose another one.",
    );
  }
  if (!isOurs(stats) && stats.uid !== 0) {
    throw unusable(folder, "it belongs to another user. Choose a folder that you own.");
  }
  if ((stats.mode & WRITABLE_BY_OTHERS) !== 0) {
    throw unusable(
      folder,
      "other users can write there. Choose another folder, or remove their permission: chmod go-w.",
    );
  }
  try {
    accessSync(folder, constants.W_OK);
  } catch (error) {
    throw unwritable(folder, "can't be written to", error);
  }
};

/** Checks that a file is a regular file of this user, without opening it: it may be a pipe or a device. */
const checkFile = (path: string): boolean => {
  const stats = lstat(path);
  if (stats === undefined) return false;
  if (!stats.isFile() || !isOurs(stats) || stats.nlink > 1) {
    throw unusable(
      path,
      "it is not a regular file of this user (it is a link, a pipe, a device or another user's file). Remove it, or choose another folder.",
    );
  }
  if ((stats.mode & GROUP_AND_OTHERS) !== 0) chmodSync(path, PRIVATE_FILE);
  return true;
};

const createFile = (path: string): void => {
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants;
  closeSync(openSync(path, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR, PRIVATE_FILE));
};

/** Hides the warning of Node before 24 that its SQLite is experimental. */
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

/** Sets up an open database, or throws when it is not one of ours. */
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
      `it was made by a newer version of this program (${version}, and this one knows ${SCHEMA_VERSION}). Use that one, or choose another folder.`,
    );
  }
  database.exec(OPTIONS.join(""));
  database.exec(isEmpty ? `BEGIN EXCLUSIVE;${TABLES}COMMIT` : "BEGIN EXCLUSIVE;COMMIT");
};

const codeOf = (error: unknown): number | undefined =>
  Predicate.hasProperty(error, "errcode") && typeof error.errcode === "number"
    ? error.errcode
    : undefined;

const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

/** What is wrong with a database, and what to do. */
const reasonOf = (path: string, error: unknown): JobStoreUnusable => {
  if (error instanceof JobStoreUnusable) return error;
  const code = codeOf(error);
  if (code === undefined) {
    return unusable(path, `${messageOf(error)}. Choose another folder.`);
  }
  // The last byte is the primary error code; the others have details.
  return (code & 0xff) === SQLITE_BUSY
    ? unusable(path, "another server uses it. Stop that server, or choose another folder.", true)
    : unusable(
        path,
        `it can't be read as a database (${messageOf(error)}). It was not changed: move it away to start with an empty one, or choose another folder.`,
      );
};

/** Opens the database in a folder; each step checks a file before it changes it. */
const open = (folder: string): Result.Result<DatabaseSync, JobStoreUnusable> => {
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

/** Earlier versions kept a file for each job. */
const warnOfFiles = (folder: string) =>
  Effect.suspend(() => {
    const count = readdirSync(folder).filter((name) => name.endsWith(".json")).length;
    return count === 0
      ? Effect.void
      : Effect.logWarning(
          `${folder} has ${count === 1 ? "a JSON file" : `${count} JSON files`}. Jobs are kept in ${FILE} now; files of an earlier version are not read. Remove them.`,
        );
  });

type Kind = "request" | "result";

const decodeState = Schema.decodeUnknownOption(JobState);
type Row = Readonly<Record<string, SQLOutputValue>>;

/** The statements of a store. */
const statementsOf = (database: DatabaseSync) => ({
  begin: database.prepare("BEGIN"),
  commit: database.prepare("COMMIT"),
  putState: database.prepare(
    "INSERT INTO jobs (id, status, submitted, started, ended, retries) VALUES (?, ?, ?, ?, ?, ?) " +
      "ON CONFLICT (id) DO UPDATE SET status = excluded.status, started = excluded.started, ended = excluded.ended, retries = excluded.retries",
  ),
  putPiece: database.prepare("INSERT INTO pieces (job, kind, number, bytes) VALUES (?, ?, ?, ?)"),
  dropPieces: database.prepare("DELETE FROM pieces WHERE job = ? AND kind = ?"),
  dropAllPieces: database.prepare("DELETE FROM pieces WHERE job = ?"),
  dropState: database.prepare("DELETE FROM jobs WHERE id = ?"),
  dropOrphans: database.prepare("DELETE FROM pieces WHERE job NOT IN (SELECT id FROM jobs)"),
  states: database.prepare("SELECT * FROM jobs ORDER BY submitted, rowid"),
  pieces: database.prepare("SELECT bytes FROM pieces WHERE job = ? AND kind = ? ORDER BY number"),
});

const makeStore = (database: DatabaseSync, path: string, sql: ReturnType<typeof statementsOf>) => {
  /** Pieces of two changes of a job must not mix. */
  const turn = Semaphore.makeUnsafe(1);

  const putPieces = Effect.fnUntraced(function* (id: string, kind: Kind, bytes: Uint8Array) {
    sql.dropPieces.run(id, kind);
    for (let start = 0; start < bytes.length; start += PIECE) {
      sql.putPiece.run(id, kind, start / PIECE, bytes.subarray(start, start + PIECE));
      yield* Effect.yieldNow;
    }
  });

  const putState = ({ id, status, submitted, started, ended, retries }: KeptJob["state"]) =>
    sql.putState.run(id, status, submitted, started, ended, retries);

  /** A job exists once its state is stored; until then its pieces are orphans. */
  const add = Effect.fnUntraced(function* ({ state, request }: KeptJob) {
    yield* putPieces(state.id, "request", request);
    putState(state);
  });

  const update = Effect.fnUntraced(function* ({ state, request, result }: KeptJob) {
    yield* putPieces(state.id, "result", result ?? new Uint8Array());
    sql.begin.run();
    if (request.length === 0) sql.dropPieces.run(state.id, "request");
    putState(state);
    sql.commit.run();
  });

  const remove = (id: string) =>
    Effect.sync(() => {
      sql.dropState.run(id);
      sql.dropAllPieces.run(id);
    });

  const bytesOf = (id: string, kind: Kind): Uint8Array =>
    Buffer.concat(
      sql.pieces.all(id, kind).flatMap(({ bytes }) => (bytes instanceof Uint8Array ? [bytes] : [])),
    );

  const jobOf = Effect.fnUntraced(function* (row: Row) {
    yield* Effect.yieldNow;
    const state = decodeState(row);
    if (Option.isNone(state)) {
      yield* Effect.logWarning(`Ignoring an unreadable job in ${path}`);
      return [];
    }
    const { id } = state.value;
    const result = bytesOf(id, "result");
    return [
      {
        state: state.value,
        request: bytesOf(id, "request"),
        result: result.length === 0 ? undefined : result,
      },
    ];
  });

  const kept = Effect.gen(function* () {
    sql.dropOrphans.run();
    const jobs = yield* Effect.forEach(sql.states.all(), jobOf);
    return jobs.flat();
  }).pipe(
    Effect.catchDefect((error) => Effect.fail(reasonOf(path, error))),
    Effect.withSpan("JobStore.kept"),
  );

  /** If the disk fails, the job is not stored, but still runs. */
  const tolerant = (change: Effect.Effect<void>) =>
    turn.withPermit(change).pipe(
      Effect.uninterruptible,
      Effect.catchDefect((error) => {
        if (database.isTransaction) database.exec("ROLLBACK");
        return Effect.logWarning(`A job could not be kept in ${path}: ${messageOf(error)}`);
      }),
    );

  return JobStore.of({
    isPersistent: true,
    add: (job) => tolerant(add(job)),
    update: (job) => tolerant(update(job)),
    remove: (id) => tolerant(remove(id)),
    kept,
  });
};

/** Where a local queue keeps its jobs over a restart. */
export class JobStore extends Context.Service<
  JobStore,
  {
    /** Whether the jobs outlive this process. */
    readonly isPersistent: boolean;
    /** Stores a new job; it survives a crash once this completes. */
    readonly add: (job: KeptJob) => Effect.Effect<void>;
    /** Stores the changes of a job. */
    readonly update: (job: KeptJob) => Effect.Effect<void>;
    readonly remove: (id: string) => Effect.Effect<void>;
    /** What an earlier process left, oldest first. */
    readonly kept: Effect.Effect<ReadonlyArray<KeptJob>, JobStoreUnusable>;
  }
>()("worker-tetra/endpoint/jobs/JobStore") {
  /** The queue ends with its process. */
  static readonly layerNone = Layer.succeed(this, {
    isPersistent: false,
    add: () => Effect.void,
    update: () => Effect.void,
    remove: () => Effect.void,
    kept: Effect.succeed([]),
  });

  /** One SQLite database in a folder, readable by its owner alone. */
  static readonly layerFolder = (given: string) =>
    Layer.effect(
      this,
      Effect.gen(function* () {
        const folder = resolve(given);
        yield* makeFolder(folder);
        const database = yield* Effect.acquireRelease(
          Effect.suspend(() => Effect.fromResult(open(folder))).pipe(
            Effect.retry({ while: ({ isBusy }) => isBusy, schedule: BUSY_RETRIES }),
          ),
          (opened) => Effect.sync(() => opened.close()),
        );
        yield* warnOfFiles(folder);
        const path = join(folder, FILE);
        const sql = yield* Effect.try({
          try: () => statementsOf(database),
          catch: (error) => reasonOf(path, error),
        });
        return makeStore(database, path, sql);
      }),
    );
}
