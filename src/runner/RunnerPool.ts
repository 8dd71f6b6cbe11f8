import { Context, Effect, Layer } from "effect";

import { CONCURRENCY } from "../settings/Concurrency.ts";
import { makeRunner, type Runner } from "./Runner.ts";
import { RunnerLauncher } from "./RunnerLauncher.ts";
import type { Call } from "./call/Call.ts";

/**
 * The Python processes of this worker, one for each job at a time. Calls of an instance go to the process that
 * has it; others to one that is free, at best one that runs from the right environment already.
 */
export class RunnerPool extends Context.Service<
  RunnerPool,
  Pick<Runner, "call" | "warm"> & {
    /** Starts one process ahead of the first call; fails if that is not possible. */
    readonly warmOne: Runner["warm"];
  }
>()("worker-tetra/runner/RunnerPool") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const count = yield* CONCURRENCY.value;
      const runners = yield* Effect.all(Array.from({ length: count }, () => makeRunner));
      const [first] = runners;
      if (first === undefined) return yield* Effect.die("there is no runner");
      /** How many calls each has, the one at work included. */
      const loads = new Map<Runner, number>();
      /** Instances that are asked for at this moment, with where they are going to be. */
      const asked = new Map<string, { readonly runner: Runner; calls: number }>();

      const loadOf = (runner: Runner) => loads.get(runner) ?? 0;

      const choose = ({ meta: { instance }, workspace }: Call): Runner => {
        if (instance !== null) {
          const holder = asked.get(instance)?.runner ?? runners.find((one) => one.knows(instance));
          if (holder !== undefined) return holder;
        }
        const least = Math.min(...runners.map(loadOf));
        const free = runners.filter((one) => loadOf(one) === least);
        return (
          free.find((one) => one.prefix() === workspace.prefix) ??
          free.find((one) => one.prefix() !== undefined && instance === null) ??
          free.find((one) => one.prefix() === undefined) ??
          free[0] ??
          first
        );
      };

      const begin = (request: Call): Runner => {
        const runner = choose(request);
        const { instance } = request.meta;
        loads.set(runner, loadOf(runner) + 1);
        if (instance !== null) {
          const entry = asked.get(instance) ?? { runner, calls: 0 };
          entry.calls += 1;
          asked.set(instance, entry);
        }
        return runner;
      };

      const end = ({ meta: { instance } }: Call, runner: Runner): void => {
        loads.set(runner, loadOf(runner) - 1);
        const entry = instance === null ? undefined : asked.get(instance);
        if (instance === null || entry === undefined) return;
        entry.calls -= 1;
        if (entry.calls === 0) asked.delete(instance);
      };

      /** Keeps account of who has what while a call lasts. */
      const call: Runner["call"] = (request) =>
        Effect.acquireUseRelease(
          Effect.sync(() => begin(request)),
          (runner) => runner.call(request),
          (runner) => Effect.sync(() => end(request, runner)),
        );

      return RunnerPool.of({
        call: count === 1 ? first.call : call,
        warmOne: first.warm,
        warm: Effect.forEach(runners, (runner) => runner.warm, { discard: true }),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide(RunnerLauncher.layer));
}
