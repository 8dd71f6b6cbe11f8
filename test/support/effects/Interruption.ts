import { Effect, Fiber, References } from "effect";

/** Lets other fibers run that many times. */
export const turns = (count: number) => Effect.repeat(Effect.yieldNow, { times: count });

/** Resuming a fiber takes two operations. With a limit of three, it runs one operation of its effect at a time. */
const ONE_OPERATION = 3;

/** The most steps of an effect that is interrupted after each of them. */
const MOST_STEPS = 500;

/**
 * Runs an effect again and again, interrupted one step later each time, until it ends before its interruption. A step
 * is a single operation: other fibers run between any two.
 *
 * @param scene prepares the effect, and looks at what an interruption left; the text names the step
 */
export const interruptedAtEveryStep = Effect.fnUntraced(function* <A, E, R>(
  scene: (
    interrupted: <B, F, S>(effect: Effect.Effect<B, F, S>) => Effect.Effect<void, never, S>,
    about: string,
  ) => Effect.Effect<A, E, R>,
) {
  for (let step = 0; step < MOST_STEPS; step += 1) {
    let hasEnded = false;
    const interrupted = Effect.fnUntraced(function* <B, F, S>(effect: Effect.Effect<B, F, S>) {
      const fiber = yield* Effect.forkChild(
        Effect.provideService(effect, References.MaxOpsBeforeYield, ONE_OPERATION),
      );
      yield* turns(step);
      hasEnded = fiber.pollUnsafe() !== undefined;
      yield* Fiber.interrupt(fiber);
    });
    yield* scene(interrupted, `interrupted after step ${step}`);
    if (hasEnded) return;
  }
  return yield* Effect.die(`it has not ended after ${MOST_STEPS} steps`);
});
