import { Cause, Console, Effect, Predicate, References, Runtime, Schema } from "effect";

import { visibleLines } from "../results/TerminalText.ts";

/** The program ends with this exit code; whatever there is to say about it was said already. */
export class Failed extends Schema.TaggedError<Failed>()("Failed", {
  /** 1: it could not be done, or a job failed. 2: the command line, a setting or a file could not be used. */
  exitCode: Schema.Literals([1, 2]),
}) {
  override readonly [Runtime.errorExitCode] = this.exitCode;
  override readonly [Runtime.errorReported] = false;
}

/** A setting that can't be used ends the program as a wrong command line does. */
export const refuse = ({ message }: { readonly message: string }) =>
  Effect.andThen(Console.error(visibleLines(message)), Effect.fail(new Failed({ exitCode: 2 })));

/** Says in one sentence what nobody foresaw; the stack is for those who ask for it. */
export const unforeseen = Effect.fnUntraced(function* <E>(
  cause: Cause.Cause<E>,
): Effect.fn.Return<never, E | Failed> {
  const error = Cause.squash(cause);
  const isSaid =
    Predicate.hasProperty(error, Runtime.errorReported) && error[Runtime.errorReported] === false;
  if (isSaid || Cause.hasInterruptsOnly(cause)) return yield* Effect.failCause(cause);
  const level = yield* References.MinimumLogLevel;
  const isAsked = level === "Debug" || level === "Trace" || level === "All";
  const message = error instanceof Error ? error.message : String(error);
  yield* Console.error(
    visibleLines(
      isAsked
        ? Cause.pretty(cause)
        : `Internal error of worker-tetra: ${message}\nSet LOG_LEVEL=debug to see the stack trace, and report it.`,
    ),
  );
  return yield* new Failed({ exitCode: 1 });
});
