import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Layer } from "effect";

import { DependencyInstaller } from "../../src/dependencies/DependencyInstaller.ts";
import { PythonPackages } from "../../src/dependencies/PythonPackages.ts";
import { SystemPackages } from "../../src/dependencies/SystemPackages.ts";
import { PythonInstallFailed } from "../../src/dependencies/pip/PythonInstallFailed.ts";
import { Workspace } from "../../src/workspace/Workspace.ts";
import { prepared } from "../support/fakes/FakeRunner.ts";

const both = { python: ["numpy"], system: ["ffmpeg"] };

const setUp = (
  python: (list: ReadonlyArray<string>) => Effect.Effect<boolean, PythonInstallFailed>,
  system: SystemPackages["Service"]["ensure"],
  ready: Workspace["Service"]["ready"] = Effect.succeed(prepared),
) =>
  Effect.provide(
    DependencyInstaller.layerNoDeps.pipe(
      Layer.provide([
        Layer.succeed(
          PythonPackages,
          PythonPackages.of({
            ensure: (list, given) =>
              Effect.map(python(list), (added) =>
                added ? { ...given, generation: given.generation + 1 } : given,
              ),
          }),
        ),
        Layer.succeed(SystemPackages, SystemPackages.of({ ensure: system })),
        Layer.mock(Workspace, { ready }),
      ]),
    ),
  );

const ensure = (needed: { python: Array<string>; system: Array<string>; accelerate: boolean }) =>
  Effect.flatMap(DependencyInstaller, (installer) =>
    Effect.map(
      installer.ensure(needed, prepared),
      ({ generation }) => generation > prepared.generation,
    ),
  );

const unbuildable = (output: string) =>
  new PythonInstallFailed({ requirements: ["numpy"], reason: "unbuildable", output });

describe("DependencyInstaller", () => {
  it.effect("installs both kinds at the same time with accelerate_downloads", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()];
      // Each install waits until the other one has started.
      const added = yield* ensure({ ...both, accelerate: true }).pipe(
        setUp(
          () =>
            Deferred.succeed(one, undefined).pipe(
              Effect.andThen(Deferred.await(other)),
              Effect.as(true),
            ),
          () =>
            Deferred.succeed(other, undefined).pipe(
              Effect.andThen(Deferred.await(one)),
              Effect.as([]),
            ),
        ),
      );
      assert.isTrue(added);
    }),
  );

  it.effect("installs system packages first without accelerate_downloads", () =>
    Effect.gen(function* () {
      const order: Array<string> = [];
      yield* ensure({ ...both, accelerate: false }).pipe(
        setUp(
          () => Effect.sync(() => order.push("python")).pipe(Effect.as(false)),
          () =>
            Effect.yieldNow.pipe(
              Effect.andThen(Effect.sync(() => order.push("system"))),
              Effect.as([]),
            ),
        ),
      );
      assert.deepStrictEqual(order, ["system", "python"]);
    }),
  );

  it.effect("uses the workspace as it is after system packages were installed", () =>
    Effect.gen(function* () {
      let current = prepared;
      const replaced = { ...prepared, prefix: "/workspace/.venvs/3.12.1-abc-2" };
      const ensured = yield* Effect.flatMap(DependencyInstaller, (installer) =>
        installer.ensure({ python: [], system: ["ffmpeg"], accelerate: false }, prepared),
      ).pipe(
        setUp(
          () => Effect.succeed(false),
          () =>
            Effect.sync(() => {
              current = replaced;
              return ["ffmpeg"];
            }),
          Effect.sync(() => current),
        ),
      );
      assert.strictEqual(ensured.prefix, replaced.prefix);
    }),
  );

  it.effect("does nothing for a job without dependencies", () =>
    ensure({ python: [], system: [], accelerate: true }).pipe(
      setUp(
        (list) => (list.length === 0 ? Effect.succeed(false) : Effect.die("unexpected install")),
        () => Effect.die("unexpected install"),
      ),
      Effect.map((added) => assert.isFalse(added)),
    ),
  );

  it.effect.each([
    "error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory",
    "error: command 'gcc' failed: No such file or directory",
    "unable to execute 'gcc': No such file or directory",
    "error: linker `cc` not found",
    "CMake Error: No CMAKE_CXX_COMPILER could be found.",
  ])("installs a compiler and retries once after %j", (output) =>
    Effect.gen(function* () {
      const installed: Array<ReadonlyArray<string>> = [];
      let tries = 0;
      const added = yield* ensure({ python: ["numpy"], system: [], accelerate: true }).pipe(
        setUp(
          () => {
            tries += 1;
            return tries === 1 ? Effect.fail(unbuildable(output)) : Effect.succeed(true);
          },
          (names) => Effect.sync(() => installed.push(names)).pipe(Effect.as([])),
        ),
      );
      assert.isTrue(added);
      assert.deepStrictEqual(installed.at(-1), ["build-essential"]);
    }),
  );

  it.effect("does not retry after other errors, nor more than once", () =>
    Effect.gen(function* () {
      let tries = 0;
      const failing = (output: string) =>
        ensure({ python: ["numpy"], system: [], accelerate: true }).pipe(
          setUp(
            () => {
              tries += 1;
              return Effect.fail(unbuildable(output));
            },
            () => Effect.succeed([]),
          ),
          Effect.flip,
        );
      assert.include(
        (yield* failing("error: invalid pyproject.toml")).message,
        "building it from source failed",
      );
      assert.strictEqual(tries, 1);
      yield* failing("error: command 'gcc' failed: No such file or directory");
      assert.strictEqual(tries, 3);
    }),
  );
});
