import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  promises,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, FileSystem, Layer, Option, PlatformError } from "effect";

import { AptCache } from "../../../src/dependencies/apt/AptCache.ts";
import { safeFileSystem } from "../../../src/platform/files/SafeFileSystem.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import type { Place } from "../../../src/venv/Place.ts";
import { Volume } from "../../../src/workspace/Volume.ts";
import { openFilesBelow } from "../../support/files/OpenFiles.ts";
import { patchFiles } from "../../support/files/PatchedFiles.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";

const CONTENT = "the archive";
const ARCHIVE = {
  file: "hello.deb",
  size: CONTENT.length,
  sha256: createHash("sha256").update(CONTENT).digest("hex"),
};

/** A volume, the folder of an install with the archive (source), and the folder of another install (target). */
const sceneOf = Effect.fnUntraced(function* (
  change: (files: FileSystem.FileSystem) => Partial<FileSystem.FileSystem>,
) {
  const folder = yield* temporaryFolder;
  const [volume, source, target] = ["volume", "source", "target"].map((name) => join(folder, name));
  if (volume === undefined || source === undefined || target === undefined) {
    return yield* Effect.die("unreachable");
  }
  for (const made of [volume, source, target]) mkdirSync(made);
  writeFileSync(join(source, ARCHIVE.file), CONTENT);
  const place: Place = {
    directory: join(volume, "runtimes", "one"),
    shared: true,
    caches: volume,
    cachedModels: Option.none(),
  };
  const layer = AptCache.layerNoDeps.pipe(
    Layer.provide(
      Layer.effect(
        FileSystem.FileSystem,
        Effect.map(FileSystem.FileSystem, (files) =>
          FileSystem.make({ ...files, ...change(files) }),
        ),
      ),
    ),
    Layer.provide(safeFileSystem),
    Layer.provide(Environment.layerOf({ ...process.env, RUNPOD_VOLUME_PATH: volume })),
    Layer.provide(NodeServices.layer),
  );
  const use = <A, E>(
    of: (cache: AptCache["Service"]) => Effect.Effect<A, E>,
    shared = Option.some(place),
  ) =>
    Effect.provide(
      Effect.flatMap(AptCache, of),
      Layer.provide(
        layer,
        Layer.succeed(Volume, Volume.of({ shared: Effect.succeed(shared), own: place })),
      ),
    );
  const store = (cache: AptCache["Service"]) => cache.store(source);
  const restore = (cache: AptCache["Service"]) => cache.restore([ARCHIVE], target);
  return {
    folder,
    volume,
    source,
    target,
    store: use(store),
    restore: use(restore),
    withoutVolume: use(
      (cache) => Effect.andThen(store(cache), restore(cache)),
      Option.none<Place>(),
    ),
    /** The path of the archive on the volume. */
    cached: () => {
      const names = readdirSync(join(volume, ".apt-cache"));
      const release = names.find((name) => name !== "CACHEDIR.TAG") ?? "";
      return join(volume, ".apt-cache", release, "archives", ARCHIVE.file);
    },
  };
});

const scene = sceneOf(() => ({}));

/** A container of this release of a distribution. */
const ofRelease = (text: string) =>
  sceneOf((files) => ({
    readFile: (path) =>
      path === "/etc/os-release" ? Effect.succeed(Buffer.from(text)) : files.readFile(path),
  }));

const failure = PlatformError.systemError({
  _tag: "Unknown",
  module: "FileSystem",
  method: "copyFile",
});

describe("AptCache", () => {
  it.live("restores archives that another container stored", () =>
    Effect.gen(function* () {
      const { store, restore, target } = yield* scene;
      yield* store;
      yield* restore;
      assert.strictEqual(readFileSync(join(target, ARCHIVE.file), "utf8"), CONTENT);
    }).pipe(Effect.scoped),
  );

  it.live("adds CACHEDIR.TAG to the folder only when it creates the folder", () =>
    Effect.gen(function* () {
      const { store, volume } = yield* scene;
      const tag = join(volume, ".apt-cache", "CACHEDIR.TAG");
      yield* store;
      assert.match(readFileSync(tag, "utf8"), /^Signature: 8a477f597d28d172789f06886806bc55/);
      rmSync(tag);
      yield* store;
      assert.isFalse(existsSync(tag));
    }).pipe(Effect.scoped),
  );

  it.live("keeps restored archives, and does not store an archive again", () =>
    Effect.gen(function* () {
      const { store, cached, restore } = yield* scene;
      yield* store;
      const { ino } = statSync(cached());
      yield* restore;
      assert.isTrue(existsSync(cached()));
      yield* store;
      assert.strictEqual(statSync(cached()).ino, ino);
    }).pipe(Effect.scoped),
  );

  it.live("stores only archives", () =>
    Effect.gen(function* () {
      const { store, cached, source } = yield* scene;
      writeFileSync(join(source, "lock"), "");
      mkdirSync(join(source, "partial"));
      yield* store;
      assert.deepStrictEqual(readdirSync(dirname(cached())), [ARCHIVE.file]);
    }).pipe(Effect.scoped),
  );

  it.live.each([
    ['ID=debian\nVERSION_ID="12"\n', "debian-12"],
    ["VERSION_ID=24.04\nID=ubuntu\nID_LIKE=debian\n", "ubuntu-24.04"],
    ["ID=debian\n", "debian-unknown"],
    ['ID="../../x"\nVERSION_ID=12\n', "unknown-12"],
  ] as const)("uses a separate folder for each release: with %j the folder of %s", ([text, name]) =>
    Effect.gen(function* () {
      const { store, cached } = yield* ofRelease(text);
      yield* store;
      assert.isTrue(existsSync(cached()));
      assert.strictEqual(basename(dirname(dirname(cached()))), `${name}-${process.arch}`);
    }).pipe(Effect.scoped),
  );

  it.live("does nothing without a volume", () =>
    Effect.gen(function* () {
      const { volume, target, withoutVolume } = yield* scene;
      yield* withoutVolume;
      assert.isEmpty([...readdirSync(volume), ...readdirSync(target)]);
    }).pipe(Effect.scoped),
  );

  it.live("deletes the partial copy of an archive that can't be stored, and does not fail", () =>
    Effect.gen(function* () {
      const { store, cached } = yield* sceneOf((files) => ({
        copyFile: (_, to) => Effect.andThen(files.writeFileString(to, "the"), Effect.fail(failure)),
      }));
      yield* store;
      assert.deepStrictEqual(readdirSync(dirname(cached())), []);
    }).pipe(Effect.scoped),
  );

  it.live("copies only the expected size of a file that grows, and closes it", () =>
    Effect.gen(function* () {
      const { store, cached, restore, target, volume } = yield* scene;
      yield* store;
      const { open } = promises;
      yield* Effect.acquireRelease(
        Effect.sync(() =>
          patchFiles({
            open: async (path, ...rest) => {
              const handle = await open(path, ...rest);
              const info = await handle.stat();
              appendFileSync(cached(), " and more");
              return Object.assign(handle, { stat: () => Promise.resolve(info) });
            },
          }),
        ),
        (putBack) => Effect.sync(putBack),
      );
      yield* restore;
      assert.strictEqual(readFileSync(join(target, ARCHIVE.file), "utf8"), CONTENT);
      assert.strictEqual(openFilesBelow(volume), 0);
    }).pipe(Effect.scoped),
  );

  it.live("closes a file of a wrong size", () =>
    Effect.gen(function* () {
      const { store, cached, restore, volume } = yield* scene;
      yield* store;
      writeFileSync(cached(), "");
      yield* restore;
      assert.strictEqual(openFilesBelow(volume), 0);
    }).pipe(Effect.scoped),
  );

  it.live.each<readonly [string, (cached: string, folder: string) => void]>([
    ["other content of the same size", (cached) => writeFileSync(cached, "the bad one")],
    ["more content", (cached) => writeFileSync(cached, `${CONTENT}, and more`)],
    ["a link", (cached, folder) => symlinkSync(join(folder, "source", ARCHIVE.file), cached)],
    ["a named pipe", (cached) => execFileSync("mkfifo", [cached])],
    ["a device", (cached) => symlinkSync("/dev/zero", cached)],
  ])("does not restore %s, and replaces it by the correct archive", ([, plant]) =>
    Effect.gen(function* () {
      const { folder, store, cached, restore, target } = yield* scene;
      yield* store;
      rmSync(cached());
      plant(cached(), folder);
      yield* restore;
      assert.isEmpty(readdirSync(target));
      yield* store;
      assert.strictEqual(readFileSync(cached(), "utf8"), CONTENT);
    }).pipe(Effect.scoped),
  );

  it.live("does not overwrite existing files in the folder of an install", () =>
    Effect.gen(function* () {
      const { folder, store, restore, target } = yield* scene;
      yield* store;
      const precious = join(folder, "precious");
      writeFileSync(precious, "precious");
      symlinkSync(precious, join(target, ARCHIVE.file));
      yield* restore;
      assert.strictEqual(readFileSync(precious, "utf8"), "precious");
    }).pipe(Effect.scoped),
  );

  it.live("ignores a folder with the name of an archive, and does not change it", () =>
    Effect.gen(function* () {
      const { store, cached, restore, target } = yield* scene;
      yield* store;
      rmSync(cached());
      mkdirSync(join(cached(), "more"), { recursive: true });
      yield* restore;
      yield* store;
      assert.isEmpty(readdirSync(target));
      assert.isTrue(existsSync(join(cached(), "more")));
    }).pipe(Effect.scoped),
  );

  it.live.each(["archives", "release", ".apt-cache"])(
    "does not write through a link in place of the folder %s",
    (which) =>
      Effect.gen(function* () {
        const { folder, store, cached, restore, target, volume } = yield* scene;
        yield* store;
        const archives = join(cached(), "..");
        const linked = {
          archives,
          release: join(archives, ".."),
          ".apt-cache": join(volume, ".apt-cache"),
        }[which];
        if (linked === undefined) return yield* Effect.die("no such folder");
        rmSync(linked, { recursive: true });
        const elsewhere = join(folder, "elsewhere");
        mkdirSync(elsewhere);
        symlinkSync(elsewhere, linked);
        yield* store;
        yield* restore;
        assert.isEmpty(readdirSync(elsewhere));
        assert.isEmpty(readdirSync(target));
      }).pipe(Effect.scoped),
  );
});
