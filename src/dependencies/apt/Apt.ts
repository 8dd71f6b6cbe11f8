import { join } from "node:path";

import { Context, Effect, FileSystem, Layer } from "effect";

import { Programs } from "../../platform/programs/Programs.ts";
import * as Setting from "../../settings/Setting.ts";
import { AptCache, type Archive } from "./AptCache.ts";
import { aptGet, areListsFresh, checkNames, QUIET } from "./AptGet.ts";
import { archivesOf } from "./AptOutput.ts";
import { isOutdated, SystemInstallFailed } from "./SystemInstallFailed.ts";

const APT_LISTS = Setting.text({
  name: "WORKER_APT_LISTS",
  doc: "Folder of apt's package lists. The worker downloads them if they are missing or old.",
  expected: "a path",
  fallback: "/var/lib/apt/lists",
});

/** Without this, apt reads an unknown name as a regular expression, which can match thousands of packages. */
const EXACT_NAMES = ["-o", "APT::Cmd::Pattern-Only=true"] as const;

const refused = (packages: ReadonlyArray<string>, reason: string) =>
  new SystemInstallFailed({ packages, reason, output: "" });

/** Fails unless this process can install Debian packages. */
const checkMachine = Effect.fnUntraced(function* (
  programs: Programs["Service"],
  names: ReadonlyArray<string>,
) {
  yield* programs
    .run("apt-get", ["--version"])
    .pipe(
      Effect.mapError(() =>
        refused(
          names,
          "this system has no apt-get. Use an image based on Debian or Ubuntu, or install them in your image",
        ),
      ),
    );
  const user = yield* Effect.orElseSucceed(programs.run("id", ["-u"]), () => "");
  if (user.trim() !== "0") {
    return yield* refused(
      names,
      "only root can install them. Run the container as root, or install them in your image",
    );
  }
});

/** Installs packages; archives are restored from the cache into a private folder, and stored there afterwards. */
const installFrom = Effect.fnUntraced(function* (
  programs: Programs["Service"],
  cache: AptCache["Service"],
  folder: string,
  names: ReadonlyArray<string>,
) {
  const command = ["install", "-y", "--no-install-recommends", "--", ...names];
  const options = [
    ...EXACT_NAMES,
    "-o",
    `Dir::Cache::Archives=${folder}`,
    // Images often disable this cache, and then each apt command takes a second to rebuild it.
    "-o",
    `Dir::Cache::pkgcache=${join(folder, "pkgcache.bin")}`,
  ];
  yield* checkNames(programs, names, options);
  const needed = yield* programs
    .run(
      "apt-get",
      ["-qq", "--print-uris", "-o", "Acquire::ForceHash=SHA256", ...options, ...command],
      { environment: QUIET },
    )
    .pipe(
      Effect.map(archivesOf),
      Effect.orElseSucceed((): ReadonlyArray<Archive> => []),
    );
  yield* cache.restore(needed, folder);
  yield* aptGet(programs, ["-o", "APT::Keep-Downloaded-Packages=true", ...options, ...command]);
  yield* cache.store(folder);
});

/** `apt-get install` for root. */
export class Apt extends Context.Service<
  Apt,
  {
    readonly install: (names: ReadonlyArray<string>) => Effect.Effect<void, SystemInstallFailed>;
  }
>()("worker-tetra/dependencies/apt/Apt") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const programs = yield* Programs;
      const files = yield* FileSystem.FileSystem;
      const cache = yield* AptCache;
      const lists = yield* APT_LISTS.value;

      // Lists are not stored on the volume: apt checks only the signatures of downloaded lists, and they contain the
      // digests by which archives on the volume are verified.
      const update = Effect.asVoid(aptGet(programs, ["update"]));
      const listsReady = Effect.flatMap(areListsFresh(files, lists), (fresh) =>
        fresh ? Effect.void : update,
      );

      const install = Effect.fn("Apt.install")(function* (names: ReadonlyArray<string>) {
        yield* checkMachine(programs, names);
        yield* Effect.logInfo(`Installing system packages: ${names.join(", ")}`);
        const folder = yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-apt-" }).pipe(
          // apt downloads as another user.
          Effect.tap((made) => files.chmod(made, 0o755)),
          Effect.tap((made) => files.makeDirectory(join(made, "partial"))),
          Effect.mapError((error) => refused(names, error.message)),
        );
        const apply = installFrom(programs, cache, folder, names);
        yield* listsReady.pipe(
          Effect.andThen(apply),
          Effect.catchIf(isOutdated, () => Effect.andThen(update, apply)),
          Effect.mapError((error) => SystemInstallFailed.from(names, error)),
        );
      }, Effect.scoped);

      return Apt.of({ install });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide([Programs.layer, AptCache.layer]));
}
