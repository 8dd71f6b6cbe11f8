import { Context, Effect, Layer } from "effect";

import { CONCURRENCY } from "../settings/Concurrency.ts";
import { ReadAhead } from "../workspace/profile/ReadAhead.ts";
import { StartProfile } from "../workspace/profile/StartProfile.ts";
import { makeRunner, type Runner } from "./Runner.ts";
import { RunnerLauncher } from "./RunnerLauncher.ts";
import type { Call } from "./call/Call.ts";
import { Preload } from "./preload/Preload.ts";
import { Assignments } from "./state/Assignments.ts";

/**
 * The Python processes of this worker, one for each concurrent job. Calls of an instance are sent to the process that
 * has the instance; other calls to an idle process, preferably one that already runs from the right venv.
 */
export class RunnerPool extends Context.Service<
  RunnerPool,
  Pick<Runner, "call" | "warm"> & {
    /** Starts one process before the first call. */
    readonly warmOne: Runner["start"];
  }
>()("worker-tetra/runner/RunnerPool") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const first = yield* makeRunner;
      const others = yield* Effect.all(
        Array.from({ length: (yield* CONCURRENCY.value) - 1 }, () => makeRunner),
      );
      const runners = [first, ...others] as const;
      const assignments = new Assignments(runners);

      const call = (request: Call) =>
        Effect.acquireUseRelease(
          Effect.sync(() => assignments.begin(request)),
          ({ runner }) => runner.call(request),
          (assignment) => Effect.sync(() => assignments.end(assignment)),
        );

      return RunnerPool.of({
        call: others.length === 0 ? first.call : call,
        warmOne: first.start,
        warm: Effect.forEach(runners, (runner) => runner.warm, { discard: true }),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([RunnerLauncher.layer, StartProfile.layer, ReadAhead.layer, Preload.layer]),
  );
}
