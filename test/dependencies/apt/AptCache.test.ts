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

/** A volume that can keep the archive, the folder of an install that fetched it, and that of another install. */
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
  const keep = (cache: AptCache["Service"]) => cache.keep(source);
  const restore = (cache: AptCache["Service"]) => cache.restore([ARCHIVE], target);
  return {
    folder,
    volume,
    source,
    target,
    keep: use(keep),
    restore: use(restore),
    withoutVolume: use(
      (cache) => Effect.andThen(keep(cache), restore(cache)),
      Option.none<Place>(),
    ),
    /** Where the volume has the archive. */
    kept: () => {
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
  it.live("gives the next container the archives that one has fetched", () =>
    Effect.gen(function* () {
      const { keep, restore, target } = yield* scene;
      yield* keep;
      yield* restore;
      assert.strictEqual(readFileSync(join(target, ARCHIVE.file), "utf8"), CONTENT);
    }).pipe(Effect.scoped),
  );

  it.live("marks the folder that it makes as a cache, and no other", () =>
    Effect.gen(function* () {
      const { keep, volume } = yield* scene;
      const tag = join(volume, ".apt-cache", "CACHEDIR.TAG");
      yield* keep;
      assert.match(readFileSync(tag, "utf8"), /^Signature: 8a477f597d28d172789f06886806bc55/);
      rmSync(tag);
      yield* keep;
      assert.isFalse(existsSync(tag));
    }).pipe(Effect.scoped),
  );

  it.live("keeps what it has given, and does not copy again what it has", () =>
    Effect.gen(function* () {
      const { keep, kept, restore } = yield* scene;
      yield* keep;
      const { ino } = statSync(kept());
      yield* restore;
      assert.isTrue(existsSync(kept()));
      yield* keep;
      assert.strictEqual(statSync(kept()).ino, ino);
    }).pipe(Effect.scoped),
  );

  it.live("keeps archives only", () =>
    Effect.gen(function* () {
      const { keep, kept, source } = yield* scene;
      writeFileSync(join(source, "lock"), "");
      mkdirSync(join(source, "partial"));
      yield* keep;
      assert.deepStrictEqual(readdirSync(dirname(kept())), [ARCHIVE.file]);
    }).pipe(Effect.scoped),
  );

  it.live.each([
    ['ID=debian\nVERSION_ID="12"\n', "debian-12"],
    ["VERSION_ID=24.04\nID=ubuntu\nID_LIKE=debian\n", "ubuntu-24.04"],
    ["ID=debian\n", "debian-unknown"],
    ['ID="../../x"\nVERSION_ID=12\n', "unknown-12"],
  ] as const)("keeps apart the archives of each release: %j are those of %s", ([text, name]) =>
    Effect.gen(function* () {
      const { keep, kept } = yield* ofRelease(text);
      yield* keep;
      assert.isTrue(existsSync(kept()));
      assert.strictEqual(basename(dirname(dirname(kept()))), `${name}-${process.arch}`);
    }).pipe(Effect.scoped),
  );

  it.live("does nothing without a volume", () =>
    Effect.gen(function* () {
      const { volume, target, withoutVolume } = yield* scene;
      yield* withoutVolume;
      assert.isEmpty([...readdirSync(volume), ...readdirSync(target)]);
    }).pipe(Effect.scoped),
  );

  it.live("leaves no part of an archive that can't be copied, and does not fail", () =>
    Effect.gen(function* () {
      const { keep, kept } = yield* sceneOf((files) => ({
        copyFile: (_, to) => Effect.andThen(files.writeFileString(to, "the"), Effect.fail(failure)),
      }));
      yield* keep;
      assert.deepStrictEqual(readdirSync(dirname(kept())), []);
    }).pipe(Effect.scoped),
  );

  it.live("copies no more than the archive from a file that grows, and closes it", () =>
    Effect.gen(function* () {
      const { keep, kept, restore, target, volume } = yield* scene;
      yield* keep;
      const { open } = promises;
      yield* Effect.acquireRelease(
        Effect.sync(() =>
          patchFiles({
            open: async (path, ...rest) => {
              const handle = await open(path, ...rest);
              const info = await handle.stat();
              appendFileSync(kept(), " and more");
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

  it.live("closes a file that it does not take", () =>
    Effect.gen(function* () {
      const { keep, kept, restore, volume } = yield* scene;
      yield* keep;
      writeFileSync(kept(), "");
      yield* restore;
      assert.strictEqual(openFilesBelow(volume), 0);
    }).pipe(Effect.scoped),
  );

  it.live.each<readonly [string, (kept: string, folder: string) => void]>([
    ["other content of the same size", (kept) => writeFileSync(kept, "the bad one")],
    ["more content", (kept) => writeFileSync(kept, `${CONTENT}, and more`)],
    ["a link", (kept, folder) => symlinkSync(join(folder, "source", ARCHIVE.file), kept)],
    ["a named pipe", (kept) => execFileSync("mkfifo", [kept])],
    ["a device", (kept) => symlinkSync("/dev/zero", kept)],
  ])("takes nothing that is %s, and makes room for the right one", ([, plant]) =>
    Effect.gen(function* () {
      const { folder, keep, kept, restore, target } = yield* scene;
      yield* keep;
      rmSync(kept());
      plant(kept(), folder);
      yield* restore;
      assert.isEmpty(readdirSync(target));
      yield* keep;
      assert.strictEqual(readFileSync(kept(), "utf8"), CONTENT);
    }).pipe(Effect.scoped),
  );

  it.live("writes to nothing that is there already in the folder of an install", () =>
    Effect.gen(function* () {
      const { folder, keep, restore, target } = yield* scene;
      yield* keep;
      const precious = join(folder, "precious");
      writeFileSync(precious, "precious");
      symlinkSync(precious, join(target, ARCHIVE.file));
      yield* restore;
      assert.strictEqual(readFileSync(precious, "utf8"), "precious");
    }).pipe(Effect.scoped),
  );

  it.live("ignores a folder with an archive's name, and does not change it", () =>
    Effect.gen(function* () {
      const { keep, kept, restore, target } = yield* scene;
      yield* keep;
      rmSync(kept());
      mkdirSync(join(kept(), "more"), { recursive: true });
      yield* restore;
      yield* keep;
      assert.isEmpty(readdirSync(target));
      assert.isTrue(existsSync(join(kept(), "more")));
    }).pipe(Effect.scoped),
  );

  it.live.each(["archives", "release", ".apt-cache"])(
    "writes nothing through a link in place of a folder: %s",
    (which) =>
      Effect.gen(function* () {
        const { folder, keep, kept, restore, target, volume } = yield* scene;
        yield* keep;
        const archives = join(kept(), "..");
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
        yield* keep;
        yield* restore;
        assert.isEmpty(readdirSync(elsewhere));
        assert.isEmpty(readdirSync(target));
      }).pipe(Effect.scoped),
  );
});
