import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";
import { TestClock } from "effect/testing";

import { DiskFault } from "../../../src/platform/files/DiskFault.ts";
import { fakePackages } from "../../support/machine/FakePackages.ts";
import { backgroundRuns } from "../../support/machine/PackedMachine.ts";

/** A machine whose venv on the volume gets one package, and the operations on its archives. */
const packing = (options: Parameters<typeof fakePackages>[0] = {}) => {
  const operations: Array<string> = [];
  const machine = fakePackages({
    hasCopies: true,
    ...options,
    volume: {
      ...options.volume,
      archives: {
        ...options.volume?.archives,
        before: (operation) =>
          Effect.andThen(
            Effect.sync(() => operations.push(operation)),
            options.volume?.archives?.before?.(operation) ?? Effect.void,
          ),
      },
    },
  });
  const shared = () =>
    machine.memory.paths(/\/index-[^/]*\/[^/]*\.json$/).map((path) => path.replace(/.*\//, ""));
  const lists = () => machine.memory.paths(/\.worker-tetra-packages\.json$/);
  return { ...machine, operations, shared, lists };
};

describe("Packing", () => {
  it.effect("packs the packages of a venv that a worker has built, and shares them", () => {
    const machine = packing();
    return Effect.gen(function* () {
      const { satisfy } = yield* machine.start();
      yield* satisfy(["six==1"]);
      yield* backgroundRuns;
      assert.include(machine.shared(), "six-1.json");
      assert.lengthOf(machine.lists(), 1);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("shares packages that a job installed before the new venv was packed", () => {
    const machine = packing();
    return Effect.gen(function* () {
      const { satisfy, background } = yield* machine.start();
      yield* background.busy(satisfy(["six==1"]));
      yield* backgroundRuns;
      assert.include(machine.shared(), "six-1.json");
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("does not share an archive that differs from what was released", () => {
    const machine = packing({
      volume: { archives: { isReleased: (record) => record !== "six-1.dist-info" } },
    });
    return Effect.gen(function* () {
      const { satisfy } = yield* machine.start();
      yield* satisfy(["six==1", "idna==3"]);
      yield* backgroundRuns;
      assert.include(machine.shared(), "idna-3.json");
      assert.notInclude(machine.shared(), "six-1.json");
      assert.lengthOf(machine.lists(), 1);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("shares nothing of a venv that changes while it is packed", () => {
    const machine = packing({
      volume: {
        archives: {
          before: (operation) =>
            Effect.sync(() => {
              if (operation !== "archives.pack") return;
              for (const path of machine.memory.paths(/\.worker-tetra-complete$/)) {
                machine.memory.plant({ [path.replace("complete", "installing")]: "" });
              }
            }),
        },
      },
    });
    return Effect.gen(function* () {
      const { satisfy } = yield* machine.start();
      yield* satisfy(["six==1"]);
      yield* backgroundRuns;
      assert.include(machine.operations, "archives.pack");
      assert.deepStrictEqual(machine.shared(), []);
      assert.deepStrictEqual(machine.lists(), []);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("waits for another worker that packs, but not for one that has stopped", () => {
    const machine = packing({ locks: { held: /packing\.lock$/ } });
    const start = Effect.gen(function* () {
      yield* (yield* machine.start()).ready;
      yield* backgroundRuns;
    }).pipe(Effect.scoped);
    return Effect.gen(function* () {
      yield* start;
      assert.deepStrictEqual(machine.lists(), []);
      yield* TestClock.adjust("6 minutes");
      yield* start;
      assert.lengthOf(machine.lists(), 1);
    }).pipe(machine.provide);
  });

  it.effect("leaves a venv without a list if the volume is full", () => {
    const machine = packing({
      volume: {
        archives: {
          before: (operation) =>
            operation === "archives.pack"
              ? Effect.fail(
                  new DiskFault({ path: "/", code: "EDQUOT", problem: "is full", detail: "" }),
                )
              : Effect.void,
        },
      },
    });
    return Effect.gen(function* () {
      yield* (yield* machine.start()).ready;
      yield* backgroundRuns;
      assert.deepStrictEqual(machine.lists(), []);
      assert.match(machine.warnings().join("\n"), /^Could not finish packing .*is full/);
    }).pipe(Effect.scoped, machine.provide);
  });
});
