import { Effect, Fiber, References } from "effect";

/** Lets other fibers run, this many times. */
export const turns = (count: number) => Effect.repeat(Effect.yieldNow, { times: count });

/** Resuming a fiber takes two operations, so with a limit of three it runs one operation of its effect at a time. */
const MAX_OPERATIONS = 3;

/** Effects must end within this number of steps. */
const MAX_STEPS = 500;

/**
 * Runs an effect repeatedly and interrupts it one step later each time, until it ends before the interruption. A step
 * is a single operation of the effect; other fibers run between two steps.
 *
 * @param scene prepares and runs the effect, and checks the state after the interruption; `about` names the step
 */
export const interruptedAtEveryStep = Effect.fnUntraced(function* <A, E, R>(
  scene: (
    interrupted: <B, F, S>(effect: Effect.Effect<B, F, S>) => Effect.Effect<void, never, S>,
    about: string,
  ) => Effect.Effect<A, E, R>,
) {
  for (let step = 0; step < MAX_STEPS; step += 1) {
    let hasEnded = false;
    const interrupted = Effect.fnUntraced(function* <B, F, S>(effect: Effect.Effect<B, F, S>) {
      const fiber = yield* Effect.forkChild(
        Effect.provideService(effect, References.MaxOpsBeforeYield, MAX_OPERATIONS),
      );
      yield* turns(step);
      hasEnded = fiber.pollUnsafe() !== undefined;
      yield* Fiber.interrupt(fiber);
    });
    yield* scene(interrupted, `interrupted after step ${step}`);
    if (hasEnded) return;
  }
  return yield* Effect.die(`the effect did not end within ${MAX_STEPS} steps`);
});
