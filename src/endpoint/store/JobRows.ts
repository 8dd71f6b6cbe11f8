import type { DatabaseSync, SQLOutputValue } from "node:sqlite";

import { Effect, Option, Schema } from "effect";

import { JobState, type StoredJob } from "./StoredJob.ts";

/**
 * Requests and results are written in pieces of this size, one statement each: SQLite's calls are synchronous, and
 * 10 MB at once block the event loop for up to 0.2 seconds.
 */
const PIECE_BYTES = 512 * 1024;

type Kind = "request" | "result";

const decodeState = Schema.decodeUnknownOption(JobState);
type Row = Readonly<Record<string, SQLOutputValue>>;

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

type Statements = ReturnType<typeof statementsOf>;

const makeWriters = (sql: Statements) => {
  const putPieces = Effect.fnUntraced(function* (id: string, kind: Kind, bytes: Uint8Array) {
    sql.dropPieces.run(id, kind);
    for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
      sql.putPiece.run(id, kind, start / PIECE_BYTES, bytes.subarray(start, start + PIECE_BYTES));
      yield* Effect.yieldNow;
    }
  });

  const putState = ({ id, status, submitted, started, ended, retries }: StoredJob["state"]) =>
    sql.putState.run(id, status, submitted, started, ended, retries);

  /** A job exists once its state is stored; pieces without a state are deleted at the next start. */
  const add = Effect.fnUntraced(function* ({ state, request }: StoredJob) {
    yield* putPieces(state.id, "request", request);
    putState(state);
  });

  const update = Effect.fnUntraced(function* ({ state, request, result }: StoredJob) {
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

  return { add, update, remove };
};

const makeReader = (sql: Statements, path: string) => {
  const bytesOf = (id: string, kind: Kind): Uint8Array =>
    Buffer.concat(
      sql.pieces.all(id, kind).flatMap(({ bytes }) => (bytes instanceof Uint8Array ? [bytes] : [])),
    );

  const jobOf = Effect.fnUntraced(function* (row: Row) {
    yield* Effect.yieldNow;
    const state = decodeState(row);
    if (Option.isNone(state)) {
      yield* Effect.logWarning(`Ignoring an invalid job in ${path}`);
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

  /** All jobs, oldest first. */
  const readAll = Effect.gen(function* () {
    sql.dropOrphans.run();
    const jobs = yield* Effect.forEach(sql.states.all(), jobOf);
    return jobs.flat();
  });

  return { readAll };
};

/** Reads and writes jobs in a database; a failed statement is a defect. Throws if the tables are not as expected. */
export const makeJobRows = (database: DatabaseSync, path: string) => {
  const sql = statementsOf(database);
  return { ...makeWriters(sql), ...makeReader(sql, path) };
};
