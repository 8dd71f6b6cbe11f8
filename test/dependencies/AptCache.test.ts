import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Option } from "effect";

import { AptCache } from "../../src/dependencies/AptCache.ts";
import { type Place, Volume } from "../../src/workspace/Volume.ts";

const CONTENT = "the archive";
const ARCHIVE = {
  file: "hello.deb",
  size: CONTENT.length,
  sha256: createHash("sha256").update(CONTENT).digest("hex"),
};

/** A volume whose cache has the archive, and the folder of an install. */
const scene = Effect.gen(function* () {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "worker-tetra-apt-cache-"))),
    (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true })),
  );
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
      Layer.succeed(Volume, Volume.of({ shared: Effect.succeedSome(place), own: place })),
    ),
    Layer.provide(NodeServices.layer),
  );
  const use = <A, E>(of: (cache: AptCache["Service"]) => Effect.Effect<A, E>) =>
    Effect.provide(Effect.flatMap(AptCache, of), layer);
  return {
    folder,
    volume,
    target,
    keep: use((cache) => cache.keep(source)),
    restore: use((cache) => cache.restore([ARCHIVE], target)),
    /** Where the volume has the archive. */
    kept: () => {
      const names = readdirSync(join(volume, ".apt-cache"));
      const release = names.find((name) => name !== "CACHEDIR.TAG") ?? "";
      return join(volume, ".apt-cache", release, "archives", ARCHIVE.file);
    },
  };
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
