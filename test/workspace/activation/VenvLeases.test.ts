import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Option } from "effect";

import { lockOf } from "../../../src/platform/files/Removal.ts";
import { MAX_LEASES, venvLeases } from "../../../src/workspace/activation/VenvLeases.ts";
import { fakeMachine } from "../../support/machine/FakeMachine.ts";

/** The leases of a worker, with virtual environments that it may acquire. */
const setUp = Effect.fnUntraced(function* (machine: ReturnType<typeof fakeMachine>, count = 1) {
  const worker = yield* machine.worker();
  const place = Option.getOrThrow(yield* worker.volume.shared);
  const leases = yield* venvLeases.pipe(
    Effect.provide(Layer.merge(worker.services, machine.locks.layer)),
  );
  const venvs = yield* Effect.forEach(Array.from({ length: count }), () =>
    worker.venvs.build(place, [], 0),
  );
  return { leases, venvs, locksOn: (prefix: string) => machine.locks.held(lockOf(prefix)) };
});

describe("venvLeases", () => {
  it.effect("locks a venv once until the lease is released", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const { leases, venvs, locksOn } = yield* setUp(machine);
      for (const venv of venvs) {
        assert.isTrue(yield* leases.acquire(venv));
        assert.isTrue(yield* leases.acquire(venv));
        assert.deepStrictEqual(locksOn(venv.prefix), ["shared"]);
        yield* leases.release(venv.prefix);
        yield* leases.release(venv.prefix);
        assert.isEmpty(locksOn(venv.prefix));
      }
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("does not lock a venv that another worker is removing", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const { leases, venvs, locksOn } = yield* setUp(machine);
      for (const venv of venvs) {
        yield* machine.locks.tryLock(lockOf(venv.prefix), "exclusive");
        assert.isFalse(yield* leases.acquire(venv));
        assert.deepStrictEqual(locksOn(venv.prefix), ["exclusive"]);
      }
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("releases the lock of a venv that was removed before it was locked", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const { leases, venvs, locksOn } = yield* setUp(machine);
      for (const venv of venvs) {
        machine.memory.uproot(venv.prefix);
        assert.isFalse(yield* leases.acquire(venv));
        assert.isEmpty(locksOn(venv.prefix));
      }
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("acquires a lease where locks don't work, since no worker removes venvs there", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const worker = yield* machine.worker();
      const venv = yield* worker.venvs.build(Option.getOrThrow(yield* worker.volume.shared), [], 0);
      const withoutLocks = fakeMachine({ locks: { refusal: "no locks here" } });
      const leases = yield* venvLeases.pipe(
        Effect.provide(Layer.merge(worker.services, withoutLocks.locks.layer)),
      );
      assert.isTrue(yield* leases.acquire(venv));
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("releases the oldest lease if there are too many", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const { leases, venvs, locksOn } = yield* setUp(machine, MAX_LEASES + 1);
      const [first, second, ...others] = venvs;
      assert.isDefined(first);
      assert.isDefined(second);
      for (const venv of [first, second, first, ...others]) {
        assert.isTrue(yield* leases.acquire(venv));
      }
      const leased = venvs.filter(({ prefix }) => locksOn(prefix).length > 0);
      assert.deepStrictEqual(leased, [first, ...others]);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("keeps the other leases when a new one can't be acquired", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const { leases, venvs, locksOn } = yield* setUp(machine, MAX_LEASES + 1);
      const leased = venvs.slice(0, MAX_LEASES);
      for (const venv of leased) yield* leases.acquire(venv);
      for (const venv of venvs.slice(MAX_LEASES)) {
        machine.memory.uproot(venv.prefix);
        assert.isFalse(yield* leases.acquire(venv));
      }
      assert.isTrue(leased.every(({ prefix }) => locksOn(prefix).length === 1));
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("releases all locks when the scope closes", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { leases, venvs } = yield* setUp(machine, 2);
          for (const venv of venvs) yield* leases.acquire(venv);
          assert.lengthOf(machine.locks.paths(), 2);
        }),
      );
      assert.isEmpty(machine.locks.paths());
    }).pipe(machine.provide);
  });
});
