import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Fiber } from "effect";
import { TestClock } from "effect/testing";

import { parseVenvName } from "../../src/venv/VenvNames.ts";
import { isDone } from "../support/effects/Waiting.ts";
import type { Step } from "../support/fakes/Steps.ts";
import { fakePackages } from "../support/machine/FakePackages.ts";
import { IS_FULL } from "../support/values/FullLength.ts";

const WORKSPACE = "/runpod-volume/runtimes/default";

/** Marks a venv with a running install. */
const INSTALLING = /\/(\d[^/]+)\/\.worker-tetra-installing$/;

type Machine = ReturnType<typeof fakePackages>;

/** Here a holder can't be distinguished from a worker in Python, which is not replaced. */
const isUnknown = (operation: string, path: string): boolean =>
  ["announce", "readLock"].includes(operation) && path.endsWith("/.initialization.lock");

/** What must be true at each step of any worker. */
const invariants = (machine: Machine) => {
  let generation = 0;
  return (operation: string, path: string): void => {
    const name = machine.linkAt(`${WORKSPACE}/.venv`)?.split("/").at(-1);
    const now = name === undefined ? 0 : (parseVenvName(name)?.generation ?? 0);
    assert.isAtLeast(now, generation, "`.venv` went back to a lower generation");
    generation = now;
    if (operation === "rename" && INSTALLING.test(path)) {
      assert.notProperty(machine.memory.show(), path, "two workers install into one venv");
    }
  };
};

/** A worker that is stopped before one of its steps, like by SIGSTOP, and can be resumed. */
const startStoppable = Effect.fnUntraced(function* (
  machine: Machine,
  check: (operation: string, path: string) => void,
  requirements: ReadonlyArray<string>,
  stopBefore: number,
) {
  const resumed = yield* Deferred.make<void>();
  let steps = 0;
  const state = { isStopped: false };
  const step: Step = (operation, path) =>
    Effect.suspend(() => {
      check(operation, path);
      steps += 1;
      if (steps === stopBefore && !isUnknown(operation, path)) state.isStopped = true;
      return state.isStopped ? Deferred.await(resumed) : Effect.void;
    });
  const fiber = yield* Effect.forkScoped(
    Effect.flatMap(machine.start({ step, installTimeout: "600" }), ({ satisfy }) =>
      satisfy(requirements),
    ),
  );
  return {
    /** Runs until the worker is stopped or done. */
    run: Effect.gen(function* () {
      while (!state.isStopped && !isDone(fiber)) {
        yield* TestClock.adjust("1 second");
        for (let turns = 0; turns < 30; turns += 1) yield* Effect.yieldNow;
      }
    }),
    resume: Effect.suspend(() => {
      state.isStopped = false;
      return Deferred.succeed(resumed, undefined);
    }),
    /** The result has all packages. */
    assertDone: Effect.gen(function* () {
      const { prefix } = yield* Fiber.join(fiber);
      const shown = machine.memory.show();
      for (const requirement of requirements) {
        const record = `${requirement.replace("==", "-")}.dist-info`;
        assert.property(shown, `${prefix}/lib/python3.12/site-packages/${record}`);
      }
      assert.property(shown, `${prefix}/.worker-tetra-complete`);
      assert.property(shown, `${prefix}/bin/python`);
    }),
    steps: () => steps,
  };
});

/** One worker is stopped; another one is stopped too, or finishes; both are resumed. Returns the steps of both. */
const interleave = (
  /** Packages that are installed before. */
  installed: ReadonlyArray<string>,
  stopFirst: number,
  stopSecond: number,
) => {
  const machine = fakePackages();
  const check = invariants(machine);
  return Effect.gen(function* () {
    if (installed.length > 0) {
      const earlier = yield* startStoppable(machine, check, installed, Infinity);
      yield* earlier.run;
    }
    const first = yield* startStoppable(machine, check, ["six==1"], stopFirst);
    yield* first.run;
    const builds = machine.memory.paths(/\.building-[^/]+$/);
    const second = yield* startStoppable(machine, check, ["six==1", "numpy==2"], stopSecond);
    yield* second.run;
    assert.includeMembers([...machine.memory.paths(/\.building-[^/]+$/)], [...builds]);
    yield* first.resume;
    yield* first.run;
    yield* first.assertDone;
    yield* second.resume;
    yield* second.run;
    yield* second.assertDone;
    yield* first.assertDone;
    const last = yield* startStoppable(machine, check, ["numpy==2"], Infinity);
    yield* last.run;
    yield* last.assertDone;
    assert.isEmpty(machine.memory.paths(/^\/own\//), machine.warnings().join("; "));
    return [first.steps(), second.steps()] as const;
  }).pipe(Effect.scoped, machine.provide);
};

const upTo = (last: number, interval: number) =>
  Array.from({ length: Math.ceil(last / interval) }, (_, index) => 1 + index * interval);

const SITUATIONS: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
  ["builds and installs", []],
  ["adds packages", ["idna==3"]],
  ["replaces packages", ["six==2"]],
];

describe("a worker that is stopped", () => {
  it.effect.each(SITUATIONS)(
    "while it %s does no harm when it resumes, wherever it was stopped",
    ([, installed]) =>
      Effect.gen(function* () {
        const [steps] = yield* interleave(installed, Infinity, Infinity);
        assert.isAbove(steps, 30);
        for (const step of upTo(steps, IS_FULL ? 1 : 5)) {
          yield* interleave(installed, step, Infinity);
        }
      }),
    600_000,
  );

  it.effect.each(SITUATIONS)(
    "while it %s does no harm when it resumes while the worker that replaced it is stopped",
    ([, installed]) =>
      Effect.gen(function* () {
        const [steps, others] = yield* interleave(installed, Infinity, Infinity);
        for (const step of upTo(steps, IS_FULL ? 1 : 19)) {
          for (const other of upTo(others * 2, IS_FULL ? 7 : 29)) {
            yield* interleave(installed, step, other);
          }
        }
      }),
    600_000,
  );
});
