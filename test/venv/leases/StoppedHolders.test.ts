import { assert, describe, it } from "@effect/vitest";
import { Data, Duration, Effect, Exit, Fiber, Layer, Option, Path, Ref, Scope } from "effect";
import { TestClock } from "effect/testing";

import { Environment } from "../../../src/settings/Environment.ts";
import { lockFile, type LockName } from "../../../src/venv/leases/Generation.ts";
import { holderText } from "../../../src/venv/leases/Holder.ts";
import { Leases } from "../../../src/venv/leases/Leases.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { memoryFileLock } from "../../support/files/MemoryFileLock.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";

const PLACE = { directory: "/volume" };

const file = (name: LockName, generation = 0) => lockFile(PLACE, name, generation);

class Broken extends Data.TaggedError("Broken") {}

/** A volume, on which other workers hold locks. */
const setUp = () => {
  const memory = memoryFileSystem({ "/volume/.venvs": null });
  const locks = memoryFileLock(memory);
  const logs = keptLogs();
  const layer = Leases.layerNoDeps.pipe(
    Layer.provide([
      locks.layer,
      memory.layer,
      Path.layer,
      Environment.layerOf({ WORKSPACE_INIT_TIMEOUT: "60" }),
    ]),
    Layer.provideMerge(logs.layer),
  );

  /** Another worker holds a lock until the returned scope closes. It sends heartbeats until the other scope closes. */
  const hold = Effect.fnUntraced(function* (name: LockName, text: string) {
    const held = yield* Scope.make();
    const running = yield* Scope.make();
    const lock = Option.getOrThrow(
      yield* Scope.provide(locks.tryLock(file(name), "exclusive"), held),
    );
    yield* lock.write(text);
    yield* Effect.forkIn(Effect.forever(Effect.delay(lock.touch, "3 seconds")), running);
    return { release: Scope.close(held, Exit.void), stop: Scope.close(running, Exit.void) };
  });

  return { memory, locks, logs, hold, provide: Effect.provide(layer) };
};

/** Waits for a lease; returns its generation. */
const generationOf = (lock: LockName) =>
  Effect.flatMap(Leases, ({ useUnless }) =>
    useUnless({
      place: PLACE,
      lock,
      find: Effect.succeedNone,
      use: Effect.succeed<number>,
    }),
  );

const HOLDER = holderText("pid 7 on another host");

describe("a lease whose holder has stopped", () => {
  it.effect("is replaced by the next generation after 20 s without a heartbeat", () => {
    const { memory, logs, hold, provide } = setUp();
    return Effect.gen(function* () {
      const holder = yield* hold("initialization", HOLDER);
      const fiber = yield* Effect.forkScoped(generationOf("initialization"));
      yield* TestClock.adjust("30 seconds");
      yield* holder.stop;
      yield* TestClock.adjust("19 seconds");
      assert.isUndefined(fiber.pollUnsafe());
      assert.isEmpty(logs.warnings());
      yield* TestClock.adjust("5 seconds");
      assert.strictEqual(yield* Fiber.join(fiber), 1);
      assert.property(memory.show(), file("install", 1));
      assert.lengthOf(logs.warnings(), 1);
      assert.include(
        logs.warnings()[0],
        "/volume/.initialization.lock is held by a worker that has stopped (pid 7 on another host: no heartbeat for 20 s)",
      );
      assert.strictEqual(yield* generationOf("install"), 1);
    }).pipe(Effect.scoped, provide);
  });

  it.effect("is replaced once by all workers that wait for it", () => {
    const { memory, logs, hold, provide } = setUp();
    return Effect.gen(function* () {
      const holder = yield* hold("install", HOLDER);
      yield* holder.stop;
      const waiting = yield* Effect.forkScoped(
        Effect.all(
          Array.from({ length: 8 }, () => generationOf("install")),
          { concurrency: "unbounded" },
        ),
      );
      yield* TestClock.adjust("30 seconds");
      assert.deepStrictEqual(yield* Fiber.join(waiting), Array(8).fill(1));
      assert.lengthOf(logs.warnings(), 1);
      assert.notProperty(memory.show(), file("install", 2));
    }).pipe(Effect.scoped, provide);
  });

  it.effect.each([
    ["it sends heartbeats", HOLDER, false],
    ["it is a Python worker, which sends none", "a Python worker", true],
    ["it has written nothing", "", true],
  ] as const)("is not replaced if %s", ([, text, stops]) => {
    const { memory, hold, provide } = setUp();
    return Effect.gen(function* () {
      const holder = yield* hold("initialization", text);
      if (stops) yield* holder.stop;
      const fiber = yield* Effect.forkScoped(generationOf("initialization"));
      yield* TestClock.adjust("50 seconds");
      assert.isUndefined(fiber.pollUnsafe());
      yield* holder.release;
      assert.notProperty(memory.show(), file("install", 1));
    }).pipe(Effect.scoped, provide);
  });

  it.effect("is not replaced while the holder of the other lock is running", () => {
    const { hold, provide } = setUp();
    return Effect.gen(function* () {
      const stopped = yield* hold("install", HOLDER);
      yield* stopped.stop;
      const running = yield* hold("initialization", HOLDER);
      const fiber = yield* Effect.forkScoped(generationOf("install"));
      yield* TestClock.adjust("40 seconds");
      assert.isUndefined(fiber.pollUnsafe());
      yield* running.release;
      yield* TestClock.adjust("1 second");
      assert.strictEqual(yield* Fiber.join(fiber), 1);
    }).pipe(Effect.scoped, provide);
  });

  it.effect("is replaced if the same host held both locks", () => {
    const { hold, provide } = setUp();
    return Effect.gen(function* () {
      for (const name of ["install", "initialization"] as const) {
        const holder = yield* hold(name, HOLDER);
        yield* holder.stop;
      }
      const fiber = yield* Effect.forkScoped(generationOf("initialization"));
      yield* TestClock.adjust("21 seconds");
      assert.strictEqual(yield* Fiber.join(fiber), 1);
    }).pipe(Effect.scoped, provide);
  });

  it.effect("is replaced by a worker that itself holds the other lock", () => {
    const { hold, provide } = setUp();
    return Effect.gen(function* () {
      const holder = yield* hold("initialization", HOLDER);
      yield* holder.stop;
      const { useUnless } = yield* Leases;
      const nested = useUnless({
        place: PLACE,
        lock: "install",
        find: Effect.succeedNone,
        use: (outer) => Effect.map(generationOf("initialization"), (inner) => [outer, inner]),
      });
      const fiber = yield* Effect.forkScoped(nested);
      yield* TestClock.adjust("21 seconds");
      assert.deepStrictEqual(yield* Fiber.join(fiber), [0, 1]);
    }).pipe(Effect.scoped, provide);
  });

  it.effect("is replaced at once if it lost the lock without releasing it", () => {
    const { memory, provide } = setUp();
    return Effect.gen(function* () {
      memory.plant({ [file("install")]: HOLDER });
      assert.strictEqual(yield* generationOf("install"), 1);
      assert.strictEqual(yield* generationOf("install"), 1);
    }).pipe(provide);
  });

  it.effect("is left to the worker that replaced it, when it is released", () => {
    const { hold, provide } = setUp();
    return Effect.gen(function* () {
      const holder = yield* hold("install", HOLDER);
      yield* holder.stop;
      const first = yield* Effect.forkScoped(generationOf("install"));
      yield* TestClock.adjust("21 seconds");
      assert.strictEqual(yield* Fiber.join(first), 1);
      yield* holder.release;
      assert.strictEqual(yield* generationOf("install"), 1);
    }).pipe(Effect.scoped, provide);
  });
});

describe("the holder of a lease", () => {
  it.effect("sends heartbeats while it holds the lease, and empties the file at its end", () => {
    const { memory, provide } = setUp();
    return Effect.gen(function* () {
      const { useUnless } = yield* Leases;
      const stop = yield* Ref.make(Option.none<string>());
      const changedAt = Effect.map(memory.files.lstat(file("install")), ({ mtime }) => mtime);
      const fiber = yield* Effect.forkScoped(
        useUnless({
          place: PLACE,
          lock: "install",
          find: Ref.get(stop),
          use: () => Effect.as(Effect.sleep("1 minute"), "done"),
        }),
      );
      yield* TestClock.adjust(0);
      assert.match(
        String(memory.show()[file("install")]),
        new RegExp(`^pid ${process.pid} on .+ since 1970-.+Z, heartbeat every 3 s\\n$`),
      );
      for (let beats = 0; beats < 19; beats += 1) {
        const before = yield* changedAt;
        yield* TestClock.adjust("3 seconds");
        assert.notDeepEqual(yield* changedAt, before);
      }
      yield* TestClock.adjust("3 seconds");
      yield* Fiber.join(fiber);
      assert.strictEqual(memory.show()[file("install")], "");
    }).pipe(Effect.scoped, provide);
  });

  it.effect("tries again if its work failed after other workers had replaced it", () => {
    const { memory, provide } = setUp();
    return Effect.gen(function* () {
      const { useUnless } = yield* Leases;
      const generations: Array<number> = [];
      const result = yield* useUnless({
        place: PLACE,
        lock: "initialization",
        find: Effect.succeedNone,
        use: (generation) =>
          Effect.suspend(() => {
            generations.push(generation);
            if (generation === 1) return Effect.succeed("done");
            memory.plant({ [file("install", 1)]: "" });
            return Effect.fail(new Broken());
          }),
      });
      assert.strictEqual(result, "done");
      assert.deepStrictEqual(generations, [0, 1]);
    }).pipe(provide);
  });

  it.effect("fails if its work failed otherwise", () => {
    const { provide } = setUp();
    return Effect.gen(function* () {
      const { useUnless } = yield* Leases;
      const work = useUnless({
        place: PLACE,
        lock: "initialization",
        find: Effect.succeedNone,
        use: () => Effect.fail(new Broken()),
      });
      assert.strictEqual((yield* Effect.flip(work))._tag, "Broken");
    }).pipe(provide);
  });
});

describe("a worker that waits for a lease", () => {
  it.effect("logs for whom after 5 s, once", () => {
    const { logs, hold, provide } = setUp();
    return Effect.gen(function* () {
      yield* hold("install", HOLDER);
      yield* Effect.forkScoped(generationOf("install"));
      yield* TestClock.adjust(Duration.millis(4999));
      assert.isEmpty(logs.notices());
      yield* TestClock.adjust("40 seconds");
      assert.deepStrictEqual(logs.notices(), [
        "Waiting for /volume/.venvs/.install.lock, which is locked by another worker (pid 7 on another host)",
      ]);
    }).pipe(Effect.scoped, provide);
  });
});
