import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, FileSystem, type Layer, Option, Predicate } from "effect";

import { diskFault } from "../../../src/platform/files/DiskFault.ts";
import { faultyFileSystem } from "../../support/files/FaultyFileSystem.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";

/** Effect's tag and the system's code of an error. */
const failure = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) =>
    Predicate.hasProperty(error, "reason") &&
    Predicate.hasProperty(error.reason, "_tag") &&
    Predicate.hasProperty(error.reason, "cause") &&
    Predicate.hasProperty(error.reason.cause, "code")
      ? [error.reason._tag, error.reason.cause.code]
      : error,
  );

const fileSystems: ReadonlyArray<
  readonly [name: string, layer: Layer.Layer<FileSystem.FileSystem>]
> = [
  ["in memory", memoryFileSystem().layer],
  ["of the disk", NodeServices.layer],
];

describe.each(fileSystems)("the file system %s", (_, layer) => {
  const inFolder = <A, E>(
    name: string,
    body: (files: FileSystem.FileSystem, at: (path: string) => string) => Effect.Effect<A, E>,
  ) =>
    it.effect(name, () =>
      Effect.gen(function* () {
        const files = yield* FileSystem.FileSystem;
        const folder = yield* files.makeTempDirectoryScoped();
        return yield* body(files, (path) => `${folder}/${path}`);
      }).pipe(Effect.scoped, Effect.provide(layer)),
    );

  inFolder("writes, replaces and appends to a file", (files, at) =>
    Effect.gen(function* () {
      yield* files.writeFileString(at("a"), "one");
      yield* files.writeFileString(at("a"), "two");
      assert.strictEqual(yield* files.readFileString(at("a")), "two");
      yield* files.writeFileString(at("a"), "!", { flag: "a" });
      assert.strictEqual(yield* files.readFileString(at("a")), "two!");
      const { type, size } = yield* files.stat(at("a"));
      assert.deepStrictEqual([type, Number(size)], ["File", 4]);
      assert.deepStrictEqual(yield* failure(files.writeFileString(at("a"), "", { flag: "wx" })), [
        "AlreadyExists",
        "EEXIST",
      ]);
    }),
  );

  inFolder("fails with NotFound for a missing file or folder", (files, at) =>
    Effect.gen(function* () {
      const missing = ["NotFound", "ENOENT"];
      assert.isFalse(yield* files.exists(at("no")));
      assert.deepStrictEqual(yield* failure(files.readFileString(at("no"))), missing);
      assert.deepStrictEqual(yield* failure(files.writeFileString(at("no/a"), "")), missing);
      assert.deepStrictEqual(yield* failure(files.readDirectory(at("no"))), missing);
      assert.deepStrictEqual(yield* failure(files.stat(at("no"))), missing);
      assert.deepStrictEqual(yield* failure(files.readLink(at("no"))), missing);
      assert.deepStrictEqual(yield* failure(files.realPath(at("no"))), missing);
      assert.deepStrictEqual(yield* failure(files.rename(at("no"), at("b"))), missing);
      assert.deepStrictEqual(yield* failure(files.remove(at("no"))), missing);
      assert.deepStrictEqual(yield* failure(files.makeDirectory(at("no/b"))), missing);
      assert.deepStrictEqual(yield* failure(files.symlink("x", at("no/b"))), missing);
      assert.deepStrictEqual(yield* failure(Effect.scoped(files.open(at("no")))), missing);
      yield* files.remove(at("no"), { recursive: true, force: true });
    }),
  );

  inFolder("creates directories, with their parents if recursive", (files, at) =>
    Effect.gen(function* () {
      yield* files.makeDirectory(at("a/b/c"), { recursive: true });
      yield* files.makeDirectory(at("a/b/c"), { recursive: true });
      assert.deepStrictEqual(yield* failure(files.makeDirectory(at("a"))), [
        "AlreadyExists",
        "EEXIST",
      ]);
      yield* files.writeFileString(at("a/f"), "");
      assert.deepStrictEqual((yield* files.readDirectory(at("a"))).toSorted(), ["b", "f"]);
      assert.strictEqual((yield* files.stat(at("a/b"))).type, "Directory");
      const notDirectory = ["BadResource", "ENOTDIR"];
      assert.deepStrictEqual(
        yield* failure(files.makeDirectory(at("a/f/g"), { recursive: true })),
        notDirectory,
      );
      assert.deepStrictEqual(yield* failure(files.readDirectory(at("a/f"))), notDirectory);
      assert.deepStrictEqual(yield* failure(files.stat(at("a/f/g"))), notDirectory);
      assert.deepStrictEqual(yield* failure(files.readFile(at("a"))), ["BadResource", "EISDIR"]);
      assert.deepStrictEqual(yield* failure(files.makeDirectory(at("a/f"), { recursive: true })), [
        "AlreadyExists",
        "EEXIST",
      ]);
    }),
  );

  inFolder("follows relative and absolute links in every part of a path", (files, at) =>
    Effect.gen(function* () {
      yield* files.makeDirectory(at("real/deep"), { recursive: true });
      yield* files.writeFileString(at("real/deep/f"), "x");
      yield* files.symlink("real", at("near"));
      yield* files.symlink(at("real/deep"), at("far"));
      yield* files.symlink("../../near/deep/f", at("real/deep/back"));
      assert.strictEqual(yield* files.readFileString(at("near/deep/f")), "x");
      assert.strictEqual(yield* files.readFileString(at("far/back")), "x");
      assert.strictEqual(yield* files.readLink(at("near")), "real");
      assert.strictEqual(
        yield* files.realPath(at("far/back")),
        yield* files.realPath(at("real/deep/f")),
      );
      assert.strictEqual((yield* files.stat(at("far"))).type, "Directory");
      assert.strictEqual((yield* files.lstat(at("far"))).type, "SymbolicLink");
      assert.deepStrictEqual(yield* failure(files.readLink(at("real"))), ["Unknown", "EINVAL"]);
      assert.deepStrictEqual(yield* failure(files.symlink("x", at("near"))), [
        "AlreadyExists",
        "EEXIST",
      ]);
    }),
  );

  inFolder("treats a broken link as missing, and a loop as an error", (files, at) =>
    Effect.gen(function* () {
      yield* files.symlink("gone", at("dangling"));
      yield* files.symlink("loop", at("loop"));
      assert.isFalse(yield* files.exists(at("dangling")));
      assert.deepStrictEqual(yield* failure(files.stat(at("dangling"))), ["NotFound", "ENOENT"]);
      assert.deepStrictEqual(yield* failure(files.stat(at("loop"))), ["BadResource", "ELOOP"]);
      yield* files.writeFileString(at("dangling"), "through");
      assert.strictEqual(yield* files.readFileString(at("gone")), "through");
    }),
  );

  inFolder(
    "renames and replaces links, but does not replace a folder that is not empty",
    (files, at) =>
      Effect.gen(function* () {
        yield* files.makeDirectory(at("a"));
        yield* files.makeDirectory(at("b"));
        yield* files.writeFileString(at("b/f"), "");
        yield* files.symlink("a", at("link"));
        yield* files.symlink("b", at("next"));
        yield* files.rename(at("next"), at("link"));
        assert.strictEqual(yield* files.readLink(at("link")), "b");
        assert.isFalse(yield* files.exists(at("next")));
        assert.deepStrictEqual(yield* failure(files.rename(at("a"), at("b"))), [
          "Unknown",
          "ENOTEMPTY",
        ]);
        assert.deepStrictEqual(yield* failure(files.rename(at("link"), at("a"))), [
          "BadResource",
          "EISDIR",
        ]);
        assert.deepStrictEqual(yield* failure(files.rename(at("a"), at("link"))), [
          "BadResource",
          "ENOTDIR",
        ]);
        assert.deepStrictEqual(yield* failure(files.rename(at("a"), at("a/c"))), [
          "Unknown",
          "EINVAL",
        ]);
        yield* files.rename(at("b"), at("a"));
        assert.deepStrictEqual(yield* files.readDirectory(at("a")), ["f"]);
        assert.isFalse(yield* files.exists(at("link")));
      }),
  );

  inFolder("removes a link but not its target, and a folder only if recursive", (files, at) =>
    Effect.gen(function* () {
      yield* files.makeDirectory(at("a/b"), { recursive: true });
      yield* files.symlink("a", at("link"));
      yield* files.remove(at("link"), { recursive: true });
      assert.isTrue(yield* files.exists(at("a/b")));
      assert.deepStrictEqual(yield* failure(files.remove(at("a"))), ["Unknown", "ERR_FS_EISDIR"]);
      yield* files.remove(at("a"), { recursive: true });
      assert.isFalse(yield* files.exists(at("a")));
    }),
  );

  inFolder("reads an open file in pieces", (files, at) =>
    Effect.gen(function* () {
      yield* files.writeFileString(at("f"), "abc");
      const parts = yield* Effect.scoped(
        Effect.gen(function* () {
          const handle = yield* files.open(at("f"));
          return [
            yield* handle.readAlloc(2),
            yield* handle.readAlloc(2),
            yield* handle.readAlloc(2),
          ];
        }),
      );
      assert.deepStrictEqual(parts.map(Option.map((bytes) => new TextDecoder().decode(bytes))), [
        Option.some("ab"),
        Option.some("c"),
        Option.none(),
      ]);
    }),
  );

  it.effect("fails for some calls as configured by faultyFileSystem", () =>
    Effect.gen(function* () {
      const real = yield* FileSystem.FileSystem;
      const folder = yield* real.makeTempDirectoryScoped();
      const faulty = faultyFileSystem(real, [
        { method: "writeFile", code: "ENOSPC", path: /full$/, from: 2, times: 2 },
        { method: "rename", code: "EPERM" },
      ]);
      yield* Effect.gen(function* () {
        const files = yield* FileSystem.FileSystem;
        const write = files.writeFileString(`${folder}/full`, "x");
        yield* write;
        assert.deepStrictEqual(yield* failure(write), ["Unknown", "ENOSPC"]);
        assert.deepStrictEqual(yield* failure(write), ["Unknown", "ENOSPC"]);
        yield* write;
        yield* files.writeFileString(`${folder}/other`, "x");
        const rename = files.rename(`${folder}/full`, `${folder}/moved`);
        assert.deepStrictEqual(yield* failure(rename), ["PermissionDenied", "EPERM"]);
        const fault = yield* Effect.flip(Effect.mapError(rename, diskFault(folder, "fails")));
        assert.strictEqual(fault.code, "EPERM");
        assert.strictEqual(faulty.met(), 4);
      }).pipe(Effect.provide(faulty.layer));
    }).pipe(Effect.scoped, Effect.provide(layer)),
  );
});
