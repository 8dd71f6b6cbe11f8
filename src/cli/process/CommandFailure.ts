import { Cause, Console, Effect, Predicate, References, Runtime, Schema } from "effect";

import { visibleLines } from "../results/TerminalText.ts";

/** Ends the program with this exit code. The reason has already been printed. */
export class Failed extends Schema.TaggedError<Failed>()("Failed", {
  /** 1: the command or a job failed. 2: the command line, a setting or a file is invalid. */
  exitCode: Schema.Literals([1, 2]),
}) {
  override readonly [Runtime.errorExitCode] = this.exitCode;
  override readonly [Runtime.errorReported] = false;
}

/** Prints the error and exits with 2, as for an invalid command line. */
export const refuse = ({ message }: { readonly message: string }) =>
  Effect.andThen(Console.error(visibleLines(message)), Effect.fail(new Failed({ exitCode: 2 })));

/** Reports an internal error in one sentence, or with its stack trace at log level debug. */
export const reportInternalError = Effect.fnUntraced(function* <E>(
  cause: Cause.Cause<E>,
): Effect.fn.Return<never, E | Failed> {
  const error = Cause.squash(cause);
  const isReported =
    Predicate.hasProperty(error, Runtime.errorReported) && error[Runtime.errorReported] === false;
  if (isReported || Cause.hasInterruptsOnly(cause)) return yield* Effect.failCause(cause);
  const level = yield* References.MinimumLogLevel;
  const showsStack = level === "Debug" || level === "Trace" || level === "All";
  const message = error instanceof Error ? error.message : String(error);
  yield* Console.error(
    visibleLines(
      showsStack
        ? Cause.pretty(cause)
        : `Internal error of worker-tetra: ${message}\nSet LOG_LEVEL=debug to show the stack trace, and report this error.`,
    ),
  );
  return yield* new Failed({ exitCode: 1 });
});
