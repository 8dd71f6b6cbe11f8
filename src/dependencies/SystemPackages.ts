import { Context, Effect, Fiber, Layer, Semaphore } from "effect";

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

      const ensure = Effect.fn("SystemPackages.ensure")(function* (names: ReadonlyArray<string>) {
        const wanted = yield* systemPackages(names);
        const unknown = wanted.filter((name) => !known.has(name));
        if (unknown.length === 0) return [];
        const installing = turn.withPermit(
          Effect.gen(function* () {
            const missing = yield* missingOf(unknown);
            if (missing.length > 0) yield* apt.install(missing);
            for (const name of unknown) known.add(name);
            return missing;
          }),
        );
        // A job that is called off must not leave packages half unpacked: dpkg goes on to its end.
        const fiber = yield* Effect.forkIn(installing, layerScope);
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
