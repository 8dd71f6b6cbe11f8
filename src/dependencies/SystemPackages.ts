import { Context, Effect, Fiber, Layer, SynchronizedRef } from "effect";

import { Programs } from "../platform/Programs.ts";
import { INSTALL_TIMEOUT } from "./InstallTimeout.ts";
import { type RequirementRejected, systemPackages } from "./Requirement.ts";
import { Apt } from "./apt/Apt.ts";
import { SystemInstallFailed } from "./apt/SystemInstallFailed.ts";

/** The package and the version in `name:arch=version`. */
const parts = (wanted: string): readonly [name: string, version: string | undefined] => {
  const [name = wanted, version] = wanted.split("=");
  return [name, version];
};

/** The packages that dpkg has of these, with their versions. */
const findInstalled = Effect.fnUntraced(function* (
  programs: Programs["Service"],
  names: ReadonlyArray<string>,
) {
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

/** The packages that are not installed, or not in the version that is wanted. */
const findMissing = Effect.fnUntraced(function* (
  programs: Programs["Service"],
  wanted: ReadonlyArray<string>,
) {
  const found = yield* findInstalled(
    programs,
    wanted.map((one) => parts(one)[0]),
  );
  return wanted.filter((one) => {
    const [name, version] = parts(one);
    const have = found.get(name);
    return have === undefined || (version !== undefined && have !== version);
  });
});

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
      const apt = yield* Apt;
      const timeout = yield* INSTALL_TIMEOUT.value;
      const layerScope = yield* Effect.scope;
      /** Packages found or installed so far: those of a container are not removed. One install at a time changes it. */
      const known = yield* SynchronizedRef.make<ReadonlySet<string>>(new Set());

      const install = (names: ReadonlyArray<string>) =>
        SynchronizedRef.modifyEffect(
          known,
          Effect.fnUntraced(function* (before) {
            const missing = yield* findMissing(programs, names);
            if (missing.length > 0) yield* apt.install(missing);
            return [missing, new Set([...before, ...names])] as const;
          }),
        );

      const ensure = Effect.fn("SystemPackages.ensure")(function* (names: ReadonlyArray<string>) {
        const wanted = yield* systemPackages(names);
        const before = yield* SynchronizedRef.get(known);
        const unknown = wanted.filter((name) => !before.has(name));
        if (unknown.length === 0) return [];
        // A job that is cancelled must not leave packages half unpacked, so dpkg is not interrupted.
        const fiber = yield* Effect.forkIn(install(unknown), layerScope);
        return yield* Effect.timeoutOrElse(Fiber.join(fiber), {
          duration: timeout,
          orElse: () =>
            Effect.fail(
              new SystemInstallFailed({
                packages: unknown,
                reason:
                  "it takes longer than WORKER_INSTALL_TIMEOUT allows. It goes on, and a later job may find them",
                output: "",
              }),
            ),
        });
      });

      return SystemPackages.of({ ensure });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide([Programs.layer, Apt.layer]));
}
