import { Clock, Context, Effect, FileSystem, Layer, Option, Path, Schema, Semaphore } from "effect";

import * as Setting from "../settings/Setting.ts";
import { type ProgramFailed, Programs } from "../workspace/Programs.ts";
import { type RequirementRejected, systemPackages } from "./Requirement.ts";

const APT_LISTS = Setting.text({
  name: "WORKER_APT_LISTS",
  doc: "The folder of apt's package lists; they are fetched when there are none, or old ones.",
  expected: "a path",
  fallback: "/var/lib/apt/lists",
});

/** Lists older than this may name versions that mirrors have dropped, in milliseconds. */
const LISTS_AGE = 24 * 60 * 60 * 1000;

/** How long apt waits for another apt, in seconds. */
const APT_PATIENCE = 120;

/** The last lines of a tool say what went wrong. */
const WORDS_SHOWN = 20;

/** Debian packages could not be installed. */
export class SystemInstallFailed extends Schema.TaggedError<SystemInstallFailed>()(
  "SystemInstallFailed",
  {
    packages: Schema.Array(Schema.String),
    reason: Schema.String,
    /** The tool's own last words. */
    output: Schema.String,
  },
) {
  override get message(): string {
    const said = this.output.trim().split("\n").slice(-WORDS_SHOWN).join("\n");
    return `The system packages ${this.packages.join(", ")} could not be installed: ${this.reason}.${said === "" ? "" : `\n${said}`}`;
  }
}

const QUIET = { DEBIAN_FRONTEND: "noninteractive" } as const;

const reasonFor = ({ exitCode, output }: ProgramFailed): string => {
  const unknown = [...output.matchAll(/Unable to locate package (\S+)/g)].map(([, name]) => name);
  if (unknown.length > 0) {
    return `there is no package named ${unknown.join(", ")} in this image's Debian or Ubuntu release`;
  }
  if (/Version '.*' for '.*' was not found/.test(output)) return "that version is not to be had";
  if (output.includes("Could not get lock")) {
    return `another apt has been at work for longer than ${APT_PATIENCE} seconds`;
  }
  if (/Temporary failure resolving|Could not connect|Failed to fetch/.test(output)) {
    return "the package mirrors can't be reached";
  }
  if (output.includes("No space left")) return "the container's disk is full";
  return exitCode === undefined
    ? "apt-get did not run to its end"
    : `apt-get exited with ${exitCode}`;
};

/** The package and the version in `name:arch=version`. */
const parts = (wanted: string): readonly [name: string, version: string | undefined] => {
  const [name = wanted, version] = wanted.split("=");
  return [name, version];
};

/** Debian packages by apt, as root in a container. */
export class SystemPackages extends Context.Service<
  SystemPackages,
  {
    /** Installs what is not there yet; what dpkg has costs one short look. Returns what was installed. */
    readonly ensure: (
      names: ReadonlyArray<string>,
    ) => Effect.Effect<ReadonlyArray<string>, SystemInstallFailed | RequirementRejected>;
  }
>()("worker-tetra/dependencies/SystemPackages") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const programs = yield* Programs;
      const files = yield* FileSystem.FileSystem;
      const path = yield* Path.Path;
      const lists = yield* APT_LISTS.value;
      const turn = Semaphore.makeUnsafe(1);
      /** Packages of a container do not go away by themselves. */
      const known = new Set<string>();

      /** What dpkg has of these, with their versions. */
      const installed = Effect.fnUntraced(function* (names: ReadonlyArray<string>) {
        const found = new Map<string, string>();
        for (const name of names) {
          const line = yield* programs
            .run("dpkg-query", ["-W", "-f", "${db:Status-Status} ${Version}", "--", name])
            .pipe(Effect.orElseSucceed(() => ""));
          const [status, version = ""] = line.split(" ");
          if (status === "installed") found.set(name, version);
        }
        return found;
      });

      const missingOf = Effect.fnUntraced(function* (wanted: ReadonlyArray<string>) {
        const found = yield* installed(wanted.map((one) => parts(one)[0]));
        return wanted.filter((one) => {
          const [name, version] = parts(one);
          const have = found.get(name);
          return have === undefined || (version !== undefined && have !== version);
        });
      });

      /** Whether apt knows of packages at all, and not from long ago. */
      const listsAreFresh = Effect.gen(function* () {
        const names = yield* files.readDirectory(lists);
        const packages = names.find((name) => /_Packages(\.\w+)?$/.test(name));
        if (packages === undefined) return false;
        const { mtime } = yield* files.stat(path.join(lists, packages));
        const now = yield* Clock.currentTimeMillis;
        return Option.exists(mtime, (date) => now - date.getTime() < LISTS_AGE);
      }).pipe(Effect.orElseSucceed(() => false));

      const aptGet = (args: ReadonlyArray<string>) =>
        programs.run("apt-get", ["-o", `DPkg::Lock::Timeout=${APT_PATIENCE}`, ...args], {
          environment: QUIET,
        });

      const install = Effect.fn("SystemPackages.install")(function* (names: ReadonlyArray<string>) {
        const failed = (error: ProgramFailed) =>
          new SystemInstallFailed({
            packages: names,
            reason: reasonFor(error),
            output: error.output,
          });
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
        const fresh = yield* listsAreFresh;
        const update = Effect.mapError(aptGet(["update"]), failed);
        const apply = aptGet(["install", "-y", "--no-install-recommends", "--", ...names]);
        yield* Effect.logInfo(`Installing system packages: ${names.join(", ")}`);
        if (!fresh) yield* update;
        yield* apply.pipe(
          // Lists that look fresh may be older than what the mirrors have.
          Effect.catchIf(
            ({ output }) => fresh && /Unable to locate package|404 +Not Found/.test(output),
            () => Effect.andThen(update, apply),
          ),
          Effect.mapError((error) => (error._tag === "ProgramFailed" ? failed(error) : error)),
        );
      });

      const ensure = Effect.fn("SystemPackages.ensure")(function* (names: ReadonlyArray<string>) {
        const wanted = yield* systemPackages(names);
        const unknown = wanted.filter((name) => !known.has(name));
        if (unknown.length === 0) return [];
        return yield* turn.withPermit(
          Effect.gen(function* () {
            const missing = yield* missingOf(unknown);
            if (missing.length > 0) yield* install(missing);
            for (const name of unknown) known.add(name);
            return missing;
          }),
        );
      });

      return SystemPackages.of({ ensure });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide(Programs.layer));
}
