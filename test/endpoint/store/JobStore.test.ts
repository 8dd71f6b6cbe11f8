import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Fiber, Schedule } from "effect";

import { JobStore } from "../../../src/endpoint/store/JobStore.ts";
import type { StoredJob } from "../../../src/endpoint/store/StoredJob.ts";
import { advanceUntilDone } from "../../support/effects/Waiting.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { startProcess } from "../../support/processes/ChildProcess.ts";

/** A folder that does not exist yet, in a temporary folder. */
const newFolder = temporaryFolder.pipe(Effect.map((parent) => join(parent, "jobs")));

const job = (id: string, changes: Partial<StoredJob> = {}): StoredJob => ({
  state: { id, status: "IN_QUEUE", submitted: 1, started: null, ended: null, retries: 0 },
  request: Buffer.from('{"input":1}'),
  result: undefined,
  ...changes,
});

/** Uses the store in a folder, and closes it. */
const withStore = <A, E>(
  folder: string,
  act: (store: JobStore["Service"]) => Effect.Effect<A, E>,
) => Effect.flatMap(JobStore, act).pipe(Effect.provide(JobStore.layerFolder(folder)));

const keptIn = (folder: string) => withStore(folder, ({ kept }) => kept);

const refusal = (folder: string) =>
  Effect.map(Effect.flip(keptIn(folder)), ({ message }) => message);

/** A process that reports its progress, and is killed when the scope closes. */
const otherProcess = (program: string) =>
  Effect.tap(startProcess(process.execPath, ["-e", program]), ({ wrote }) => wrote(/\n/));

const modeOf = (path: string) => statSync(path).mode & 0o777;

describe("the job store", () => {
  it.live("returns added and updated jobs in order, without removed ones", () =>
    Effect.gen(function* () {
      const folder = yield* newFolder;
      const bytes = Buffer.from(Array.from({ length: 2_000_001 }, (_, index) => index % 251));
      const later = job("later");
      const done = job("done", { request: Buffer.alloc(0), result: bytes });
      yield* withStore(folder, (store) =>
        Effect.gen(function* () {
          yield* store.add({ ...later, state: { ...later.state, submitted: 3 } });
          yield* store.add(job("done", { request: bytes }));
          yield* store.add(job("gone"));
          yield* store.update(done);
          yield* store.remove("gone");
        }),
      );
      const kept = yield* keptIn(folder);
      assert.deepStrictEqual(
        kept.map(({ state }) => state.id),
        ["done", "later"],
      );
      assert.strictEqual(kept[0]?.request.length, 0);
      assert.isTrue(Buffer.from(kept[0]?.result ?? []).equals(bytes));
      assert.strictEqual(Buffer.from(kept[1]?.request ?? []).toString(), '{"input":1}');
      assert.isUndefined(kept[1]?.result);
    }).pipe(Effect.scoped),
  );

  it.live("creates only private files", () =>
    Effect.gen(function* () {
      const folder = yield* newFolder;
      yield* withStore(folder, (store) =>
        Effect.gen(function* () {
          yield* store.add(job("a"));
          assert.strictEqual(modeOf(folder), 0o700);
          const names = readdirSync(folder);
          assert.includeMembers(names, ["jobs.sqlite", "jobs.sqlite-wal"]);
          for (const name of names) assert.strictEqual(modeOf(join(folder, name)), 0o600, name);
        }),
      );
      chmodSync(join(folder, "jobs.sqlite"), 0o644);
      yield* keptIn(folder);
      assert.strictEqual(modeOf(join(folder, "jobs.sqlite")), 0o600);
    }).pipe(Effect.scoped),
  );

  describe("rejects, without changing it,", () => {
    const plants: ReadonlyArray<readonly [string, (path: string, foreign: string) => void]> = [
      ["a link to a file", (path, foreign) => symlinkSync(foreign, path)],
      ["a link to nothing", (path) => symlinkSync(`${path}.target`, path)],
      ["a second name of a file", (path, foreign) => linkSync(foreign, path)],
      ["a named pipe", (path) => execFileSync("mkfifo", [path])],
      ["a folder", (path) => mkdirSync(path)],
      ["a device", (path) => symlinkSync("/dev/zero", path)],
    ];
    const names = ["jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm", "jobs.sqlite-journal"];
    it.live.each(plants.flatMap(([what, plant]) => names.map((name) => ({ what, plant, name }))))(
      "$what in place of $name",
      ({ plant, name }) =>
        Effect.gen(function* () {
          const folder = yield* newFolder;
          const foreign = `${folder}.foreign`;
          writeFileSync(foreign, "mine");
          mkdirSync(folder);
          plant(join(folder, name), foreign);
          const message = yield* refusal(folder);
          assert.include(message, `${name}: it is not a regular file of this user`);
          assert.strictEqual(readFileSync(foreign, "utf8"), "mine");
          assert.isFalse(existsSync(join(folder, `${name}.target`)));
        }).pipe(Effect.scoped),
    );

    it.live("a folder that is a symbolic link, a file, or writable by other users", () =>
      Effect.gen(function* () {
        const folder = yield* newFolder;
        mkdirSync(folder);
        symlinkSync(folder, `${folder}.link`);
        assert.include(yield* refusal(`${folder}.link`), "it is a symbolic link");
        assert.include(yield* refusal(`${folder}.link/`), "it is a symbolic link");
        writeFileSync(`${folder}.file`, "");
        assert.include(yield* refusal(`${folder}.file`), "it is not a folder. Choose another one");
        chmodSync(folder, 0o777);
        assert.include(yield* refusal(folder), "other users can write there");
        assert.deepStrictEqual(readdirSync(folder), []);
      }).pipe(Effect.scoped),
    );

    it.live(
      "an invalid or damaged database, and one of another program or of a newer version",
      () =>
        Effect.gen(function* () {
          const folder = yield* newFolder;
          mkdirSync(folder);
          const path = join(folder, "jobs.sqlite");
          const check = Effect.fnUntraced(function* (bytes: Uint8Array, reason: string) {
            writeFileSync(path, bytes);
            const message = yield* refusal(folder);
            assert.include(message, path);
            assert.include(message, reason);
            assert.isTrue(readFileSync(path).equals(bytes));
          });
          yield* check(
            Buffer.from("something else, which is long enough to be read".repeat(9)),
            "not a readable database",
          );
          rmSync(path);
          const foreign = new DatabaseSync(path);
          foreign.exec("CREATE TABLE theirs (a)");
          foreign.close();
          yield* check(readFileSync(path), "of another program");
          rmSync(path);
          yield* withStore(folder, ({ add }) =>
            add(job("a", { request: Buffer.alloc(500_000, "a") })),
          );
          const whole = readFileSync(path);
          yield* check(
            Buffer.concat([whole.subarray(0, 100), Buffer.alloc(whole.length - 100, 7)]),
            "not a readable database",
          );
          writeFileSync(path, whole);
          const newer = new DatabaseSync(path);
          newer.exec("PRAGMA user_version = 99");
          newer.close();
          yield* check(readFileSync(path), "newer version");
        }).pipe(Effect.scoped),
    );
  });

  it.effect("is used by one process at a time", () =>
    Effect.gen(function* () {
      const folder = yield* newFolder;
      const program = `
        const { DatabaseSync } = require("node:sqlite");
        const database = new DatabaseSync(${JSON.stringify(join(folder, "jobs.sqlite"))});
        database.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT");
        console.log("locked");
        setInterval(() => {}, 1000);`;
      yield* withStore(folder, ({ add }) => add(job("a")));
      const holder = yield* otherProcess(program);
      const refused = yield* advanceUntilDone(Effect.flip(keptIn(folder)));
      assert.include(refused.message, "in use by another server");
      // The store waits for a process that is exiting.
      const third = yield* Effect.forkChild(keptIn(folder));
      yield* Effect.yieldNow;
      yield* holder.signal("SIGKILL");
      yield* holder.ended;
      assert.lengthOf(yield* advanceUntilDone(Fiber.join(third)), 1);
    }).pipe(Effect.scoped),
  );

  it.live("warns once about the JSON files of an earlier version, and does not read them", () => {
    const logs = keptLogs();
    return Effect.gen(function* () {
      const folder = yield* newFolder;
      mkdirSync(folder);
      execFileSync("mkfifo", [join(folder, "pipe.json")]);
      writeFileSync(join(folder, "a.json"), JSON.stringify({ id: "../a", status: "COMPLETED" }));
      assert.deepStrictEqual(yield* keptIn(folder), []);
      assert.lengthOf(logs.warnings(), 1);
      assert.include(logs.warnings()[0], "2 JSON files");
      assert.isTrue(existsSync(join(folder, "a.json")));
    }).pipe(Effect.scoped, Effect.provide(logs.layer));
  });

  it.live("does not block the event loop while a job of 20 MB is stored", () =>
    Effect.gen(function* () {
      const folder = yield* newFolder;
      let turns = 0;
      yield* withStore(folder, ({ add }) =>
        Effect.sync(() => (turns += 1)).pipe(
          Effect.repeat(Schedule.forever),
          Effect.raceFirst(add(job("a", { request: Buffer.alloc(20_000_000, "a") }))),
        ),
      );
      assert.isAbove(turns, 30);
    }).pipe(Effect.scoped),
  );

  it.live("still runs a job that can't be stored because the disk fails", () => {
    const logs = keptLogs();
    return Effect.gen(function* () {
      const folder = yield* newFolder;
      yield* withStore(folder, (store) =>
        Effect.gen(function* () {
          yield* store.add(job("a"));
          yield* store.add(job("not an id, so a second one of it fails"));
          yield* store.update(job("a", { state: { ...job("a").state, retries: NaN } }));
          yield* store.update(job("a", { result: Buffer.from("{}") }));
        }),
      );
      assert.lengthOf(logs.warnings(), 1);
      assert.include(logs.warnings()[0], "Could not store a job");
      const [first] = yield* keptIn(folder);
      assert.strictEqual(first?.result?.length, 2);
    }).pipe(Effect.scoped, Effect.provide(logs.layer));
  });
});
