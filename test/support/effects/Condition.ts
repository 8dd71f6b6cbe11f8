import { Deferred, Effect, Exit } from "effect";

/**
 * A condition variable: `until` waits for a condition of some state, without polling, and `notify` is called after
 * each change of that state.
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
