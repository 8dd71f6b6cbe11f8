import { Context, Effect, FileSystem, Layer, Option, Path, Schedule } from "effect";

import { ProgramFailed, Programs } from "../../platform/Programs.ts";
import * as Setting from "../../settings/Setting.ts";
import { wallMillis } from "../../settings/SteadyClock.ts";
import { AptCache, type Archive } from "./AptCache.ts";
import {
  isHalfDone,
  isLocked,
  isOutdated,
  notLocated,
  SystemInstallFailed,
  versionNotFound,
} from "./SystemInstallFailed.ts";

const APT_LISTS = Setting.text({
  name: "WORKER_APT_LISTS",
  doc: "The folder of apt's package lists; they are fetched when there are none, or old ones.",
  expected: "a path",
  fallback: "/var/lib/apt/lists",
});

/** Lists older than this may name versions that mirrors have dropped, in milliseconds. */
const LISTS_AGE = 24 * 60 * 60 * 1000;

/** Without this, apt treats an unknown name as a regular expression, which can match thousands of packages. */
const EXACT_NAMES = ["-o", "APT::Cmd::Pattern-Only=true"] as const;

/** How long another apt is waited for, looking every second: seconds. */
const PATIENCE = 120;

/** Asks nobody, and writes plain lines. */
const QUIET = { DEBIAN_FRONTEND: "noninteractive" } as const;

/** A line of `--print-uris`: the address in quotes, a file, its size and its digest. */
const ARCHIVE = /^'[^']*' ([^\s/]+\.deb) (\d+) SHA256:([0-9a-f]{64})$/gm;

const archivesOf = (words: string): ReadonlyArray<Archive> =>
  [...words.matchAll(ARCHIVE)].map(([, file = "", size = "", sha256 = ""]) => ({
    file,
    size: Number(size),
    sha256,
  }));

/** The line of a version in the output of `apt-cache policy`; the lines of its mirrors begin with more spaces. */
const VERSION = /^ (?:\*{3}| {3}) (\S+)/gm;

/** The versions of each package in the output of `apt-cache policy`; a virtual package has none. */
const versionsOf = (policy: string): ReadonlyMap<string, ReadonlyArray<string | undefined>> =>
  new Map(
    policy
      .split(/^(?=\S)/m)
      .map((part) => [
        part.slice(0, part.indexOf(":\n")),
        [...part.matchAll(VERSION)].map(([, version]) => version),
      ]),
  );

/** apt's error messages for unknown names and versions. */
const problemsOf = (names: ReadonlyArray<string>, policy: string): string => {
  const known = versionsOf(policy);
  return names
    .flatMap((wanted) => {
      const [name = wanted, version] = wanted.split("=");
      const versions = known.get(name) ?? known.get(name.replace(/:.*/, ""));
      if (versions === undefined) return [notLocated(name)];
      return version === undefined || versions.includes(version)
        ? []
        : [versionNotFound(name, version)];
    })
    .join("\n");
};

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
      const path = yield* Path.Path;
      const cache = yield* AptCache;
      const lists = yield* APT_LISTS.value;

      /** Waits for others, and finishes what one that was killed has left. */
      const patiently = (run: Effect.Effect<string, ProgramFailed>) =>
        run.pipe(
          Effect.catchIf(isHalfDone, () =>
            Effect.logWarning("An earlier install was cut off: dpkg finishes it first").pipe(
              Effect.andThen(programs.run("dpkg", ["--configure", "-a"], { environment: QUIET })),
              Effect.andThen(run),
            ),
          ),
          Effect.retry({
            while: isLocked,
            schedule: Schedule.spaced("1 second"),
            times: PATIENCE,
          }),
        );

      const aptGet = (...args: ReadonlyArray<string>) =>
        patiently(
          programs.run("apt-get", ["-q", "-o", "Dpkg::Use-Pty=0", ...args], {
            environment: QUIET,
            live: { stream: "stdout", name: "apt" },
          }),
        );

      /** Whether apt knows of packages at all, and has asked for newer ones not long ago. */
      const listsAreFresh = Effect.gen(function* () {
        const names = yield* files.readDirectory(lists);
        if (!names.some((name) => name.includes("_Packages"))) return false;
        // The lists themselves have the times of the mirrors; everything goes through this folder.
        const { mtime } = yield* files.stat(path.join(lists, "partial"));
        const now = yield* wallMillis;
        return Option.exists(mtime, (date) => now - date.getTime() < LISTS_AGE);
      }).pipe(Effect.orElseSucceed(() => false));

      // Not kept on the volume: apt checks signatures only of what it downloads, and the lists have the digests
      // by which archives from the volume are checked.
      const update = Effect.asVoid(aptGet("update"));
      const listsReady = Effect.flatMap(listsAreFresh, (fresh) => (fresh ? Effect.void : update));

      /** Fails unless each name is the exact name of a package. */
      const check = Effect.fnUntraced(function* (
        names: ReadonlyArray<string>,
        options: ReadonlyArray<string>,
      ) {
        // It does not know what `name=version` is.
        const plain = new Set(names.map((name) => name.replace(/=.*/, "")));
        const args = [...options, "policy", "--", ...plain];
        const policy = yield* programs.run("apt-cache", args, { environment: QUIET });
        const output = problemsOf(names, policy);
        if (output === "") return;
        return yield* new ProgramFailed({ command: "apt-cache", args, exitCode: 100, output });
      });

      /** Installs from archives in a folder of this install alone, as far as the cache has them. */
      const apply = Effect.fnUntraced(function* (folder: string, names: ReadonlyArray<string>) {
        const command = ["install", "-y", "--no-install-recommends", "--", ...names];
        const options = [
          ...EXACT_NAMES,
          "-o",
          `Dir::Cache::Archives=${folder}`,
          // Images often disable it, and each call would take a second to rebuild it.
          "-o",
          `Dir::Cache::pkgcache=${path.join(folder, "pkgcache.bin")}`,
        ];
        yield* check(names, options);
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
        yield* aptGet("-o", "APT::Keep-Downloaded-Packages=true", ...options, ...command);
        yield* cache.keep(folder);
      });

      const install = Effect.fn("Apt.install")(function* (names: ReadonlyArray<string>) {
        const refused = (reason: string) =>
          new SystemInstallFailed({ packages: names, reason, output: "" });
        yield* programs
          .run("apt-get", ["--version"])
          .pipe(
            Effect.mapError(() =>
              refused(
                "this system has no apt-get. Use an image made from Debian or Ubuntu, or install them in your image",
              ),
            ),
          );
        const user = yield* Effect.orElseSucceed(programs.run("id", ["-u"]), () => "");
        if (user.trim() !== "0") {
          return yield* refused(
            "only root can. Run the container as root, or install them in your image",
          );
        }
        yield* Effect.logInfo(`Installing system packages: ${names.join(", ")}`);
        const folder = yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-apt-" }).pipe(
          // apt fetches as a user of its own.
          Effect.tap((made) => files.chmod(made, 0o755)),
          Effect.tap((made) => files.makeDirectory(path.join(made, "partial"))),
          Effect.mapError((error) => refused(error.message)),
        );
        yield* listsReady.pipe(
          Effect.andThen(apply(folder, names)),
          Effect.catchIf(isOutdated, () => Effect.andThen(update, apply(folder, names))),
          Effect.mapError((error) => SystemInstallFailed.from(names, error)),
        );
      }, Effect.scoped);

      return Apt.of({ install });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide([Programs.layer, AptCache.layer]));
}
