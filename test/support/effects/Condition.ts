import { Deferred, Effect, Exit } from "effect";

/**
 * A condition variable: `until` waits without polling until a condition is true. `notify` must be called after each
 * change of the state that conditions read.
 */
export const makeCondition = () => {
  const waiting = new Map<Deferred.Deferred<void>, () => boolean>();
  return {
    notify: (): void => {
      for (const [done, isSo] of waiting) if (isSo()) Deferred.doneUnsafe(done, Exit.void);
    },
    until: (isSo: () => boolean): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (isSo()) return Effect.void;
        const done = Deferred.makeUnsafe<void>();
        waiting.set(done, isSo);
        return Effect.ensuring(
          Deferred.await(done),
          Effect.sync(() => waiting.delete(done)),
        );
      }),
  };
};
