import { assert, describe, it } from "@effect/vitest";
import { Clock, Duration, Effect, Layer, Option } from "effect";
import { TestClock } from "effect/testing";

import { activeWorkspace } from "../../../src/workspace/activation/ActiveWorkspace.ts";
import { fakeMachine } from "../../support/machine/FakeMachine.ts";

/** An empty state, and two prepared workspaces to activate. */
const setUp = Effect.fnUntraced(function* (machine: ReturnType<typeof fakeMachine>) {
  const worker = yield* machine.worker();
  const place = Option.getOrThrow(yield* worker.volume.shared);
  const first = yield* worker.ready;
  const second = yield* worker.extend(["numpy"]);
  const active = yield* activeWorkspace.pipe(
    Effect.provide(Layer.merge(worker.services, machine.files)),
  );
  return { active, place, first, second };
});

describe("activeWorkspace", () => {
  it.effect("is none before one is set and after it is invalidated", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const { active, place, first } = yield* setUp(machine);
      const now = yield* Clock.currentTimeMillis;
      assert.isUndefined(active.getIfRecent(now));
      assert.deepStrictEqual(yield* active.check(), Option.none());
      const set = yield* active.set(place, first);
      assert.strictEqual(active.getIfRecent(now), set);
      yield* active.invalidate;
      assert.isUndefined(active.getIfRecent(now));
      assert.deepStrictEqual(yield* active.check(), Option.none());
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("is recent for a second after it is set or checked", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const { active, place, first } = yield* setUp(machine);
      const set = yield* active.set(place, first);
      yield* TestClock.adjust(Duration.seconds(1));
      assert.isUndefined(active.getIfRecent(yield* Clock.currentTimeMillis));
      assert.deepStrictEqual(yield* active.check(), Option.some(set));
      yield* TestClock.adjust(Duration.millis(999));
      assert.strictEqual(active.getIfRecent(yield* Clock.currentTimeMillis), set);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("fails its check if its folder or its venv was removed", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const { active, place, first } = yield* setUp(machine);
      yield* active.set({ ...place, directory: "/gone" }, first);
      assert.deepStrictEqual(yield* active.check(), Option.none());
      yield* active.set(place, first);
      machine.memory.uproot(first.prefix);
      assert.deepStrictEqual(yield* active.check(), Option.none());
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("has a higher generation whenever it is set", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const { active, place, first, second } = yield* setUp(machine);
      const all = [
        yield* active.set(place, first),
        yield* active.set(place, second),
        yield* active.set(place, first),
      ];
      assert.deepStrictEqual(
        all.map(({ generation }) => generation),
        [1, 2, 3],
      );
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect(
    "has a higher generation after packages are added to its venv, but not to another one",
    () => {
      const machine = fakeMachine();
      return Effect.gen(function* () {
        const { active, place, first, second } = yield* setUp(machine);
        const before = yield* active.set(place, first);
        const other = yield* active.packagesAdded(second);
        assert.isAbove(other.generation, before.generation);
        assert.deepStrictEqual(yield* active.check(), Option.some(before));
        const after = yield* active.packagesAdded(before);
        assert.isAbove(after.generation, other.generation);
        assert.deepStrictEqual(yield* active.check(), Option.some(after));
      }).pipe(Effect.scoped, machine.provide);
    },
  );
});
