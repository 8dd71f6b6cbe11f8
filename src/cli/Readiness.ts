import { Effect, Latch } from "effect";

import { PythonRunner } from "../execution/PythonRunner.ts";
import { Fitness } from "../runpod/Fitness.ts";
import { Workspace } from "../workspace/Workspace.ts";

/** Fails when the GPU can't be used, by a process of its own. */
const checkCuda = Effect.gen(function* () {
  const { python } = yield* (yield* Workspace).ready;
  yield* (yield* Fitness).checkCuda(python);
});

/** Whatever can be done before there is a job. */
export const prepare = Effect.gen(function* () {
  const { requiresGpu } = yield* Fitness;
  const runner = yield* PythonRunner;
  yield* Effect.all([runner.warm, requiresGpu ? checkCuda : Effect.void], {
    concurrency: "unbounded",
  });
});

/** Fails for a machine that is unfit; anything else the first job meets too, and answers with it. */
export const tolerant = <R>(effect: Effect.Effect<unknown, Effect.Error<typeof prepare>, R>) =>
  Effect.catchIf(
    effect,
    (error) => error._tag !== "Unfit",
    (error) => Effect.logWarning(`Not ready yet: ${error.message}`),
  );

/** Looks at the GPU again after each job that was told to have spoiled it for its process. */
export const gpuWatch = () => {
  const spoiled = Latch.makeUnsafe();
  return {
    /** Told by jobs. */
    poisoned: () => spoiled.openUnsafe(),
    /** A new process may be no better off than one whose GPU was lost to it. */
    watch: spoiled.await.pipe(
      Effect.andThen(spoiled.close),
      Effect.andThen(tolerant(checkCuda)),
      Effect.forever,
    ),
  };
};
