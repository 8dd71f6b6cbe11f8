import { Context, Effect, Latch, Layer, Queue } from "effect";

type Work = Effect.Effect<void, { readonly message: string }>;

/** Makes a queue of work. One piece runs at a time, and none starts unless the worker is idle. */
const makeQueue = Effect.fnUntraced(function* (idle: Effect.Effect<void>) {
  const names = yield* Queue.unbounded<string>();
  const queued = new Map<string, Work>();

  const runNext = Effect.gen(function* () {
    const name = yield* Queue.take(names);
    yield* idle;
    const work = queued.get(name) ?? Effect.void;
    queued.delete(name);
    yield* work.pipe(
      Effect.catch(({ message }) => Effect.logWarning(`Could not finish ${name}: ${message}`)),
      Effect.catchDefect((defect) =>
        Effect.logError(`Internal error in background work (${name})`, defect),
      ),
      Effect.withSpan("BackgroundWork.run", { attributes: { name } }),
    );
  });
  yield* Effect.forkScoped(Effect.forever(runNext));

  return (name: string, work: Work) =>
    Effect.suspend(() => {
      const isQueued = queued.has(name);
      queued.set(name, work);
      return isQueued ? Effect.void : Effect.asVoid(Queue.offer(names, name));
    });
});

/**
 * Work that no job waits for, such as compiling packages. None starts while a job runs. Long work consists of steps, and
 * waits between them while a job runs. Programs that it starts should have a low priority, since a step that has started
 * continues beside a job.
 */
export class BackgroundWork extends Context.Service<
  BackgroundWork,
  {
    /**
     * Queues work of a few seconds and returns at once. Replaces queued work of the same name that has not started. One
     * piece runs at a time. The work ends with the worker; its failures are logged.
     */
    readonly run: (name: string, work: Work) => Effect.Effect<void>;
    /** The same for work of minutes. It has another queue, because a worker may end soon after a job. */
    readonly runLong: (name: string, work: Work) => Effect.Effect<void>;
    /** No long work starts from now on, because the worker stops: starting an install would only damage something. */
    readonly stop: Effect.Effect<void>;
    /** Waits until no job is running. */
    readonly idle: Effect.Effect<void>;
    /** Runs a job: background work waits for its end. */
    readonly busy: <A, E, R>(job: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>;
  }
>()("worker-tetra/platform/BackgroundWork") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const idle = yield* Latch.make(true);
      const startsLong = yield* Latch.make(true);
      let jobs = 0;

      return BackgroundWork.of({
        run: yield* makeQueue(idle.await),
        runLong: yield* makeQueue(Effect.andThen(idle.await, startsLong.await)),
        stop: Effect.asVoid(startsLong.close),
        idle: idle.await,
        busy: (job) =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              jobs += 1;
              idle.closeUnsafe();
            }),
            () => job,
            () =>
              Effect.sync(() => {
                jobs -= 1;
                if (jobs === 0) idle.openUnsafe();
              }),
          ),
      });
    }),
  );
}
