import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { ByteSize, Effect, FileSystem, Layer, Option, Path } from "effect";

import { ResultStore } from "../../../src/queue/reports/ResultStore.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { faultyFileSystem } from "../../support/files/FaultyFileSystem.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";
import { plantingFileSystem } from "../../support/files/PlantingFileSystem.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";

const GIBIBYTE = 1024 ** 3;

/** The store in a folder; without a folder, WORKER_RESULT_STORE is not set. */
const storeAt = (
  where?: string,
  disk: Layer.Layer<FileSystem.FileSystem | Path.Path> = NodeServices.layer,
) =>
  Effect.provide(
    ResultStore,
    ResultStore.layer.pipe(
      Layer.provide([
        disk,
        Environment.layerOf(where === undefined ? {} : { WORKER_RESULT_STORE: where }),
      ]),
    ),
  );

/** A disk that reports this size for every file. */
const diskWithSize = (size: number) =>
  Layer.effect(
    FileSystem.FileSystem,
    Effect.map(FileSystem.FileSystem, (files) => ({
      ...files,
      lstat: (path) =>
        Effect.map(files.lstat(path), (info) => ({ ...info, size: ByteSize.bytes(size) })),
    })),
  ).pipe(Layer.provideMerge(NodeServices.layer));

/** Puts two sparse files of this total size into a store. */
const plant = (bytes: number) => (where: string) => {
  for (const name of ["one.result", "two.result"]) {
    writeFileSync(join(where, name), "");
    truncateSync(join(where, name), bytes / 2);
  }
};

describe("a result store that others can write to", () => {
  const result = { jobId: "job-1", isStream: false, body: Buffer.from('{"output":1}') };

  const keepOne = (store: ResultStore["Service"]) => store.keep(result);

  /** Prepares the folder of a store, uses the store, and checks that a file outside is unchanged. */
  const inStore = Effect.fnUntraced(function* <A, E>(
    plant: (store: string, outside: string) => void,
    use: (store: ResultStore["Service"], where: string) => Effect.Effect<A, E>,
  ) {
    const root = yield* temporaryFolder;
    const where = join(root, "store");
    const outside = join(root, "outside");
    mkdirSync(where);
    writeFileSync(outside, '{"jobId":"foreign","isStream":false}\nprecious');
    plant(where, outside);
    const store = yield* storeAt(where);
    const value = yield* use(store, where);
    assert.match(readFileSync(outside, "utf8"), /precious$/);
    return value;
  });

  it.live("is written to without following symbolic links in it", () =>
    Effect.gen(function* () {
      const name = `${createHash("sha256").update("job-1").digest("hex")}.result`;
      const isKept = yield* inStore(
        (where, outside) => {
          symlinkSync(outside, join(where, `${name}.new`));
          symlinkSync(outside, join(where, name));
        },
        (store, where) =>
          Effect.tap(store.keep(result), () =>
            Effect.sync(() => assert.isTrue(lstatSync(join(where, name)).isFile())),
          ),
      );
      assert.isTrue(isKept);
    }).pipe(Effect.scoped),
  );

  it.effect("is not written to through a symbolic link at a guessed temporary name", () => {
    const { layer, precious } = plantingFileSystem();
    const logs = keptLogs();
    return Effect.gen(function* () {
      const store = yield* storeAt("/store", Layer.merge(layer, Path.layer));
      assert.isFalse(yield* store.keep(result));
      assert.include(logs.errors().join(), "EEXIST");
      assert.strictEqual(precious(), "precious");
    }).pipe(Effect.provide(logs.layer));
  });

  it.effect("logs that its disk is read-only", () => {
    const logs = keptLogs();
    return Effect.gen(function* () {
      const faults = [{ method: "makeDirectory", code: "EROFS" }] as const;
      const { layer } = faultyFileSystem(memoryFileSystem().files, faults);
      const store = yield* storeAt("/store", Layer.merge(layer, Path.layer));
      assert.isFalse(yield* store.keep(result));
      assert.deepStrictEqual(logs.errors(), [
        "/store can't store a result: it is mounted read-only (EROFS). Mount it writable.",
      ]);
    }).pipe(Effect.provide(logs.layer));
  });

  it.live("returns only results that a worker stored", () =>
    Effect.gen(function* () {
      const kept = yield* inStore(
        (where, outside) => {
          symlinkSync(outside, join(where, "link.result"));
          writeFileSync(join(where, "other.result"), readFileSync(outside));
          mkdirSync(join(where, "folder.result"));
          execFileSync("mkfifo", [join(where, "pipe.result")]);
        },
        (store) =>
          Effect.andThen(
            store.keep(result),
            Effect.flatMap(store.kept, (loads) => Effect.all(loads)),
          ),
      );
      assert.deepStrictEqual(
        kept.flatMap(Option.toArray).map(({ jobId }) => jobId),
        ["job-1"],
      );
    }).pipe(Effect.scoped),
  );

  it.live("accepts at most 1 GB of results in all, and logs a warning above it", () => {
    const logs = keptLogs();
    return Effect.gen(function* () {
      const rest = result.body.length;
      assert.isTrue(yield* inStore(plant(GIBIBYTE - rest), keepOne));
      assert.isFalse(yield* inStore(plant(GIBIBYTE - rest + 2), keepOne));
      assert.lengthOf(logs.warnings(), 1);
      assert.match(logs.warnings().join(), /store is full: the limit is 1 GB/);
    }).pipe(Effect.scoped, Effect.provide(logs.layer));
  });

  it.live("does not load a file above the limit for all results", () =>
    Effect.gen(function* () {
      for (const [size, count] of [
        [GIBIBYTE, 1],
        [GIBIBYTE + 1, 0],
      ] as const) {
        const where = yield* temporaryFolder;
        yield* Effect.flatMap(storeAt(where), (store) => store.keep(result));
        // A real file of this size would be loaded into memory.
        const store = yield* storeAt(where, diskWithSize(size));
        const kept = yield* Effect.all(yield* store.kept);
        assert.lengthOf(kept.flatMap(Option.toArray), count);
      }
    }).pipe(Effect.scoped),
  );

  it.live("ignores files without the name of a result", () =>
    Effect.gen(function* () {
      const kept = yield* inStore(
        (where) => {
          for (const name of ["one.result.new", "result", "one.result-1"]) {
            writeFileSync(join(where, name), "");
            truncateSync(join(where, name), GIBIBYTE);
          }
        },
        (store) =>
          Effect.gen(function* () {
            assert.isTrue(yield* store.keep(result));
            return yield* store.kept;
          }),
      );
      assert.lengthOf(kept, 1);
    }).pipe(Effect.scoped),
  );

  it.live("logs why it can't store a result, and leaves no partial file", () => {
    const logs = keptLogs();
    return Effect.gen(function* () {
      const name = `${createHash("sha256").update("job-1").digest("hex")}.result`;
      const isKept = yield* inStore(
        (where) => mkdirSync(join(where, name)),
        (store, where) =>
          Effect.tap(store.keep(result), () =>
            Effect.sync(() => assert.deepStrictEqual(readdirSync(where), [name])),
          ),
      );
      assert.isFalse(isKept);
      assert.match(logs.errors().join(), /store can't store a result/);
    }).pipe(Effect.scoped, Effect.provide(logs.layer));
  });

  it.live("ignores a file whose header line is incomplete", () =>
    Effect.gen(function* () {
      const name = `${createHash("sha256").update("job-1").digest("hex")}.result`;
      for (const content of [
        "",
        "\n",
        '{"jobId":"job-1","isStream":false}',
        '{"jobId":"job-1"}\n1',
      ]) {
        const kept = yield* inStore(
          (where) => writeFileSync(join(where, name), content),
          ({ kept: all }) => Effect.flatMap(all, (loads) => Effect.all(loads)),
        );
        assert.deepStrictEqual(kept, [Option.none()], content);
      }
    }).pipe(Effect.scoped),
  );
});

describe("a result store", () => {
  it.live("returns each result unchanged, and only once", () =>
    Effect.gen(function* () {
      const where = yield* temporaryFolder;
      const results = [
        { jobId: "job/../1", isStream: true, body: Buffer.from("a\nb\n\u00e9\n") },
        { jobId: "2\n", isStream: false, body: Buffer.alloc(0) },
      ];
      const store = yield* storeAt(where);
      // A later result of a job replaces an earlier one.
      yield* store.keep({ jobId: "2\n", isStream: true, body: Buffer.from("earlier") });
      for (const result of results) assert.isTrue(yield* store.keep(result));
      const loads = yield* (yield* storeAt(where)).kept;
      assert.sameDeepMembers(
        (yield* Effect.all(loads)).flatMap(Option.toArray).map(({ jobId, isStream, body }) => ({
          jobId,
          isStream,
          body: Buffer.from(body),
        })),
        results,
      );
      assert.isEmpty(readdirSync(where));
      assert.deepStrictEqual(yield* Effect.all(loads), [Option.none(), Option.none()]);
    }).pipe(Effect.scoped),
  );

  it.live("is empty if its folder does not exist, and creates a private folder", () =>
    Effect.gen(function* () {
      const where = join(yield* temporaryFolder, "a", "b");
      const store = yield* storeAt(where);
      assert.isEmpty(yield* store.kept);
      const result = { jobId: "job", isStream: false, body: Buffer.from("1") };
      assert.isTrue(yield* store.keep(result));
      assert.lengthOf(yield* store.kept, 1);
      assert.strictEqual(statSync(where).mode & 0o777, 0o700);
      const [name = ""] = readdirSync(where);
      assert.strictEqual(statSync(join(where, name)).mode & 0o777, 0o600);
    }).pipe(Effect.scoped),
  );

  it.live("stores nothing without WORKER_RESULT_STORE", () => {
    const logs = keptLogs();
    return Effect.gen(function* () {
      const store = yield* storeAt();
      assert.isFalse(yield* store.keep({ jobId: "job", isStream: false, body: Buffer.from("1") }));
      assert.isEmpty(yield* store.kept);
      assert.isEmpty([...logs.warnings(), ...logs.errors()]);
    }).pipe(Effect.provide(logs.layer));
  });
});
