import {
  Duration,
  Effect,
  Fiber,
  Latch,
  Option,
  type Scope,
  Semaphore,
  Stream,
  SubscriptionRef,
} from "effect";

import { stopwatch } from "../settings/SteadyClock.ts";

/** Why a job is stopped before its code has finished. */
export type StopReason = "stopped by RunPod" | "shut down";

/** A job, from when it is taken until its result is passed to `Delivery`. */
export interface ActiveJob {
  readonly id: string;
  /** The time since it was taken. */
  readonly elapsed: Effect.Effect<Duration.Duration>;
  readonly stopReason: () => StopReason | undefined;
  /** Sets the fiber that runs its code; interrupts it if a stop was requested before. */
  readonly setCode: (code: Fiber.Fiber<unknown, unknown>) => Effect.Effect<void>;
  /** Interrupts its code, and waits until it has stopped. */
  readonly stop: (reason: StopReason) => Effect.Effect<void>;
  readonly remove: Effect.Effect<void>;
  /** Waits until `remove` has run. */
  readonly awaitRemoval: Effect.Effect<void>;
}

/** The active jobs of a worker; each occupies a slot from `add` to `remove`. */
export interface ActiveJobs {
  /** Adds a job; the caller must run its `remove`. */
  readonly add: (id: string) => Effect.Effect<ActiveJob>;
  /** The latest job with this id. */
  readonly find: (id: string) => ActiveJob | undefined;
  readonly all: () => ReadonlyArray<ActiveJob>;
  readonly count: () => number;
  /** Waits until there are free slots, and returns their number. */
  readonly freeSlots: Effect.Effect<number>;
  /** Changes the number of slots. Running jobs keep theirs, also if there are more of them than slots. */
  readonly resize: (slots: number) => Effect.Effect<void>;
  /** Acquires a slot for the rest of the scope; waits if RunPod sent more jobs than there were slots. */
  readonly acquireSlot: Effect.Effect<void, never, Scope.Scope>;
  /** Records that the result of a job is not delivered yet. */
  readonly addUndelivered: (id: string) => Effect.Effect<void>;
  readonly removeUndelivered: (id: string) => Effect.Effect<void>;
  readonly isUndelivered: (id: string) => boolean;
  /** The ids of all jobs that are active or whose results are not delivered yet. */
  readonly ids: () => ReadonlyArray<string>;
}

interface State {
  readonly slots: number;
  readonly jobs: ReadonlyArray<ActiveJob>;
}

export const makeActiveJobs = Effect.fnUntraced(function* (
  slots: number,
): Effect.fn.Return<ActiveJobs> {
  const state = yield* SubscriptionRef.make<State>({ slots, jobs: [] });
  const running = yield* Semaphore.make(slots);
  const undelivered = new Set<string>();
  const all = () => SubscriptionRef.getUnsafe(state).jobs;

  const updateJobs = (change: (jobs: State["jobs"]) => State["jobs"]) =>
    SubscriptionRef.update(state, (before) => ({ ...before, jobs: change(before.jobs) }));

  const removeEntry = (entry: ActiveJob) =>
    updateJobs((jobs) => jobs.filter((one) => one !== entry));

  const add = Effect.fnUntraced(function* (id: string) {
    const removed = yield* Latch.make();
    const elapsed = yield* stopwatch;
    let reason: StopReason | undefined;
    let code: Fiber.Fiber<unknown, unknown> | undefined;
    const interrupt = Effect.suspend(() =>
      code === undefined ? Effect.void : Fiber.interrupt(code),
    );
    const entry: ActiveJob = {
      id,
      elapsed,
      stopReason: () => reason,
      setCode: (fiber) =>
        Effect.suspend(() => {
          code = fiber;
          return reason === undefined ? Effect.void : interrupt;
        }),
      stop: (newReason) =>
        Effect.suspend(() => {
          reason ??= newReason;
          return interrupt;
        }),
      remove: Effect.andThen(
        Effect.suspend(() => removeEntry(entry)),
        removed.open,
      ),
      awaitRemoval: removed.await,
    };
    yield* updateJobs((jobs) => [...jobs, entry]);
    return entry;
  });

  return {
    add,
    find: (id) => all().findLast((one) => one.id === id),
    all,
    count: () => all().length,
    freeSlots: SubscriptionRef.changes(state).pipe(
      Stream.map((current) => current.slots - current.jobs.length),
      Stream.filter((free) => free > 0),
      Stream.runHead,
      Effect.map(Option.getOrThrow),
    ),
    resize: (newSlots) =>
      Effect.andThen(
        running.resize(newSlots),
        SubscriptionRef.update(state, (before) => ({ ...before, slots: newSlots })),
      ),
    acquireSlot: running.takeScoped(1),
    addUndelivered: (id) => Effect.sync(() => undelivered.add(id)),
    removeUndelivered: (id) => Effect.sync(() => undelivered.delete(id)),
    isUndelivered: (id) => undelivered.has(id),
    ids: () => [...new Set([...all().map(({ id }) => id), ...undelivered])],
  };
});
