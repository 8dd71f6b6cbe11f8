import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import type { DatabaseSync } from "node:sqlite";

import { Context, Duration, Effect, Layer, Schedule, Semaphore } from "effect";

import { FILE, messageOf, openDatabase, reasonOf } from "./JobDatabase.ts";
import { makeJobRows } from "./JobRows.ts";
import type { JobStoreUnusable } from "./JobStoreUnusable.ts";
import { makeFolder } from "./StoreFolder.ts";
import type { StoredJob } from "./StoredJob.ts";

/** Retries for about 3 seconds, since another process that uses the database may be exiting. */
const BUSY_RETRIES = Schedule.spaced(Duration.millis(100)).pipe(Schedule.upTo({ times: 30 }));

/** Warns about files of earlier versions, which stored each job in a JSON file. */
const warnOfFiles = (folder: string) =>
  Effect.suspend(() => {
    const count = readdirSync(folder).filter((name) => name.endsWith(".json")).length;
    return count === 0
      ? Effect.void
      : Effect.logWarning(
          `${folder} contains ${count === 1 ? "1 JSON file" : `${count} JSON files`} of an earlier version. Jobs are now stored in ${FILE}, and JSON files are not read. Delete them.`,
        );
  });

/** The store in an open database. If the disk fails, a job is not stored, but still runs. */
const storeIn = (database: DatabaseSync, path: string) => {
  const rows = makeJobRows(database, path);
  /** Two changes of a job must not write their pieces at the same time. */
  const writeLock = Semaphore.makeUnsafe(1);

  const tolerant = (change: Effect.Effect<void>) =>
    writeLock.withPermit(change).pipe(
      Effect.uninterruptible,
      Effect.catchDefect((error) => {
        if (database.isTransaction) database.exec("ROLLBACK");
        return Effect.logWarning(`Could not store a job in ${path}: ${messageOf(error)}`);
      }),
    );

  return JobStore.of({
    isPersistent: true,
    add: (job) => tolerant(rows.add(job)),
    update: (job) => tolerant(rows.update(job)),
    remove: (id) => tolerant(rows.remove(id)),
    kept: rows.readAll.pipe(
      Effect.catchDefect((error) => Effect.fail(reasonOf(path, error))),
      Effect.withSpan("JobStore.kept"),
    ),
  });
};

/** Stores the jobs of a local queue, so that they survive a restart. */
export class JobStore extends Context.Service<
  JobStore,
  {
    /** Whether jobs survive this process. */
    readonly isPersistent: boolean;
    /** Stores a new job, which survives a crash once this completes. */
    readonly add: (job: StoredJob) => Effect.Effect<void>;
    /** Stores the changed state and result of a job. */
    readonly update: (job: StoredJob) => Effect.Effect<void>;
    readonly remove: (id: string) => Effect.Effect<void>;
    /** The jobs of an earlier process, oldest first. */
    readonly kept: Effect.Effect<ReadonlyArray<StoredJob>, JobStoreUnusable>;
  }
>()("worker-tetra/endpoint/store/JobStore") {
  /** Stores nothing: the queue ends with its process. */
  static readonly layerNone = Layer.succeed(this, {
    isPersistent: false,
    add: () => Effect.void,
    update: () => Effect.void,
    remove: () => Effect.void,
    kept: Effect.succeed([]),
  });

  /** Stores jobs in an SQLite database in a folder that only its owner can read. */
  static readonly layerFolder = (path: string) =>
    Layer.effect(
      this,
      Effect.gen(function* () {
        const folder = resolve(path);
        yield* makeFolder(folder);
        const database = yield* Effect.acquireRelease(
          Effect.suspend(() => Effect.fromResult(openDatabase(folder))).pipe(
            Effect.retry({ while: ({ isBusy }) => isBusy, schedule: BUSY_RETRIES }),
          ),
          (opened) => Effect.sync(() => opened.close()),
        );
        yield* warnOfFiles(folder);
        const file = join(folder, FILE);
        return yield* Effect.try({
          try: () => storeIn(database, file),
          catch: (error) => reasonOf(file, error),
        });
      }),
    );
}
