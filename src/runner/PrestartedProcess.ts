import { Effect, Exit, Option, Ref, Scope } from "effect";

import type { RunnerCommand } from "./RunnerProcess.ts";
import { type Booting, startProcess } from "./RunnerSession.ts";

type Command = Omit<RunnerCommand, "scratch">;

interface Prestarted {
  readonly key: string;
  readonly booting: Booting;
  readonly scope: Scope.Closeable;
}

const close = ({ scope }: Prestarted) => Scope.close(scope, Exit.void);

/** Equal for processes that can replace each other: they also know the same installed packages. */
const keyOf = (command: Command, generation: number): string =>
  JSON.stringify([command, generation]);

/** At most one interpreter that is started before it is known which app it serves. */
export const makePrestartedProcess = Effect.gen(function* () {
  const layerScope = yield* Effect.scope;
  const current = yield* Ref.make(Option.none<Prestarted>());

  return {
    start: Effect.fnUntraced(function* (command: Command, generation: number) {
      const scope = yield* Scope.fork(layerScope);
      const booting = yield* startProcess(command).pipe(
        Scope.provide(scope),
        Effect.onError(() => Scope.close(scope, Exit.void)),
      );
      const next = { key: keyOf(command, generation), booting, scope };
      const before = yield* Ref.getAndSet(current, Option.some(next));
      if (Option.isSome(before)) yield* close(before.value);
    }),

    /** Moves the interpreter to the current scope; none if it ended or was started differently. */
    take: Effect.fnUntraced(function* (command: Command, generation: number) {
      const taken = Option.getOrUndefined(yield* Ref.getAndSet(current, Option.none()));
      if (taken === undefined) return Option.none<Booting>();
      const { key, booting } = taken;
      if (key !== keyOf(command, generation) || booting.exit() !== undefined) {
        yield* close(taken);
        return Option.none<Booting>();
      }
      yield* Effect.addFinalizer(() => close(taken));
      return Option.some(booting);
    }, Effect.uninterruptible),
  };
});
