import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect } from "effect";

import { LINKS } from "../../../src/venv/image/ReplacedPackages.ts";
import { FULL } from "../../support/machine/FakePackages.ts";
import { backgroundRuns, packedMachine } from "../../support/machine/PackedMachine.ts";

describe("LocalInstalls", () => {
  it.effect("installs into the copy, and then into the venv on the volume", () =>
    Effect.gen(function* () {
      const machine = yield* packedMachine();
      const { satisfy } = yield* machine.start();
      const { prefix } = yield* satisfy(["idna==3"]);
      assert.match(prefix, /^\/tmp\//);
      assert.isTrue(machine.has(prefix, "idna"));
      yield* backgroundRuns;
      assert.isTrue(machine.has(machine.prefix, "idna"));
      assert.isEmpty(machine.memory.paths(/\.worker-tetra-installing$/));
    }).pipe(Effect.scoped),
  );

  it.effect.each([
    ["the dry run", "--dry-run"],
    ["the install", "--python"],
  ] as const)(
    "installs into the copy without the cache if %s fails on a full volume",
    ([, option]) =>
      Effect.gen(function* () {
        let isFull = true;
        const machine = yield* packedMachine({
          programs: (line) => {
            if (!isFull || !line.endsWith("-- idna==3") || !line.includes(option)) return undefined;
            isFull = false;
            return FULL;
          },
        });
        const { satisfy } = yield* machine.start();
        const { prefix } = yield* satisfy(["idna==3"]);
        assert.isFalse(isFull);
        assert.match(prefix, /^\/tmp\//);
        assert.isTrue(machine.has(prefix, "idna"));
      }).pipe(Effect.scoped),
  );

  it.effect("does not install on the volume while the worker stops, and logs that", () =>
    Effect.gen(function* () {
      const machine = yield* packedMachine();
      yield* Effect.gen(function* () {
        const { satisfy, background } = yield* machine.start();
        yield* background.busy(Effect.andThen(satisfy(["idna==3"]), background.stop));
        yield* backgroundRuns;
      }).pipe(Effect.scoped, machine.provide);
      assert.isFalse(machine.has(machine.prefix, "idna"));
      assert.include(machine.notices().join("\n"), "Not installed on the volume");
    }),
  );

  it.effect.each([true, false])(
    "ends an install on the volume with the worker, and marks the venv if it has changed (%s)",
    (hasChanged) =>
      Effect.gen(function* () {
        const machine = yield* packedMachine();
        const hanging = yield* Deferred.make<void>();
        yield* Effect.gen(function* () {
          const { satisfy } = yield* machine.start({
            step: (command, args) => {
              const isInstall = command === "uv" && args.startsWith("pip install");
              if (!isInstall || args.includes("--dry-run") || !args.includes(machine.prefix)) {
                return Effect.void;
              }
              const added = `${machine.prefix}/lib/python3.12/site-packages/idna`;
              if (hasChanged) machine.memory.plant({ [added]: null });
              return Effect.andThen(Deferred.succeed(hanging, undefined), Effect.never);
            },
          });
          yield* satisfy(["idna==3"]);
          yield* Deferred.await(hanging);
        }).pipe(Effect.scoped, machine.provide);
        const marked = machine.memory.paths(/^\/runpod-volume\/.*\.worker-tetra-installing$/);
        assert.lengthOf(marked, hasChanged ? 1 : 0);
        assert.include(machine.notices().join("\n"), "Not installed on the volume");
      }),
  );

  it.effect("builds a new venv on the volume if an install was interrupted there", () =>
    Effect.gen(function* () {
      const machine = yield* packedMachine();
      const { satisfy } = yield* machine.start();
      yield* satisfy([]);
      machine.memory.plant({ [`${machine.prefix}/.worker-tetra-installing`]: "" });
      yield* satisfy(["idna==3"]);
      yield* backgroundRuns;
      const built = machine.venvs().filter((venv) => venv !== machine.prefix);
      assert.lengthOf(built, 1);
      assert.deepStrictEqual(machine.built().at(-1), ["six==1", "idna==3"]);
    }).pipe(Effect.scoped),
  );

  it.effect("builds a new venv on the volume if its generation is over", () =>
    Effect.gen(function* () {
      const machine = yield* packedMachine();
      const { satisfy } = yield* machine.start();
      yield* satisfy([]);
      const folder = machine.prefix.replace(/\/[^/]*$/, "");
      machine.memory.plant({ [`${folder}/.install.lock.1`]: "" });
      yield* satisfy(["idna==3"]);
      yield* backgroundRuns;
      assert.isFalse(machine.has(machine.prefix, "idna"));
      assert.lengthOf(machine.venvs(), 2);
      yield* satisfy(["abc==3"]);
      yield* backgroundRuns;
      assert.lengthOf(machine.venvs(), 2, "the new venv is extended");
      const built = machine.venvs().find((venv) => venv !== machine.prefix) ?? "";
      assert.isTrue(machine.has(built, "abc"));
    }).pipe(Effect.scoped),
  );

  it.effect.each([true, false])(
    "uses the venv on the volume for an unknown package only if the image may have it (%s)",
    (replacesImage) =>
      Effect.gen(function* () {
        const machine = yield* packedMachine({
          programs: (line) =>
            line.includes("--dry-run") && line.endsWith("-- image==1")
              ? { exitCode: 1, output: "Because image was not found in the package registry" }
              : undefined,
        });
        const { satisfy, ready } = yield* machine.start();
        yield* ready;
        if (replacesImage) machine.memory.plant({ [`${machine.prefix}/${LINKS}`]: "" });
        const exit = yield* Effect.exit(satisfy(["image==1"]));
        assert.strictEqual(exit._tag, replacesImage ? "Success" : "Failure");
        assert.match((yield* ready).prefix, replacesImage ? /^\/runpod-volume\// : /^\/tmp\//);
      }).pipe(Effect.scoped),
  );

  it.effect("uses the venv on the volume for a list that changes packages of the copy", () =>
    Effect.gen(function* () {
      const machine = yield* packedMachine();
      const { satisfy } = yield* machine.start();
      const { prefix } = yield* satisfy(["six==2"]);
      assert.match(prefix, /^\/runpod-volume\//);
      assert.isFalse(machine.has(machine.prefix, "six-2"));
      const original = yield* satisfy(["six==1"]);
      assert.strictEqual(original.prefix, machine.prefix, "the copy that was left is not used");
    }).pipe(Effect.scoped),
  );
});
