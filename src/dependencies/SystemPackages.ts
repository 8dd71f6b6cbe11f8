import { Context, Effect, Fiber, Layer, SynchronizedRef } from "effect";

import { Programs } from "../platform/programs/Programs.ts";
import { INSTALL_TIMEOUT } from "./InstallTimeout.ts";
import { type RequirementRejected, systemPackages } from "./Requirement.ts";
import { Apt } from "./apt/Apt.ts";
import { SystemInstallFailed } from "./apt/SystemInstallFailed.ts";

/** Splits `name:arch=version`. */
const splitVersion = (wanted: string): readonly [name: string, version: string | undefined] => {
  const [name = wanted, version] = wanted.split("=");
  return [name, version];
};

/** The installed ones of these packages, with their versions. */
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

/** The packages that are not installed, or not in the requested version. */
const findMissing = Effect.fnUntraced(function* (
  programs: Programs["Service"],
  wanted: ReadonlyArray<string>,
) {
  const found = yield* findInstalled(
    programs,
    wanted.map((one) => splitVersion(one)[0]),
  );
  return wanted.filter((one) => {
    const [name, version] = splitVersion(one);
    const installed = found.get(name);
    return installed === undefined || (version !== undefined && installed !== version);
  });
});

/** Installs Debian packages with apt, as root in a container. */
export class SystemPackages extends Context.Service<
  SystemPackages,
  {
    /** Installs missing packages and returns them. dpkg is asked only once for each package. */
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
      /** Packages that are known to be installed. Containers do not remove packages, and installs run one at a time. */
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
        // In the layer's scope: interrupting dpkg when a job is cancelled could leave a package half installed.
        const fiber = yield* Effect.forkIn(install(unknown), layerScope);
        return yield* Effect.timeoutOrElse(Fiber.join(fiber), {
          duration: timeout,
          orElse: () =>
            Effect.fail(
              new SystemInstallFailed({
                packages: unknown,
                reason:
                  "it takes longer than WORKER_INSTALL_TIMEOUT allows. The install continues in the background, and later jobs can use the packages when it ends",
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
