import { Cause, Console, Effect, Predicate, References, Runtime, Schema } from "effect";

/** The command line could not be understood, or a setting; the reason is on stderr already. */
export class UsageError extends Schema.TaggedError<UsageError>()("UsageError", {}) {
  override readonly [Runtime.errorExitCode] = 2;
  override readonly [Runtime.errorReported] = false;
}

/** Something that nobody foresaw; it is on stderr already. */
class Unforeseen extends Schema.TaggedError<Unforeseen>()("Unforeseen", {}) {
  override readonly [Runtime.errorExitCode] = 1;
  override readonly [Runtime.errorReported] = false;
}

/** A setting that can't be used ends the program as a wrong command line does. */
export const refuse = ({ message }: { readonly message: string }) =>
  Effect.andThen(Console.error(message), Effect.fail(new UsageError()));

/** Says in one sentence what nobody foresaw; the stack is for those who ask for it. */
export const unforeseen = Effect.fnUntraced(function* <E>(
  cause: Cause.Cause<E>,
): Effect.fn.Return<never, E | Unforeseen> {
  const error = Cause.squash(cause);
  const isSaid =
    Predicate.hasProperty(error, Runtime.errorReported) && error[Runtime.errorReported] === false;
  if (isSaid || Cause.hasInterruptsOnly(cause)) return yield* Effect.failCause(cause);
  const level = yield* References.MinimumLogLevel;
  const isAsked = level === "Debug" || level === "Trace" || level === "All";
  const message = error instanceof Error ? error.message : String(error);
  yield* Console.error(
    isAsked
      ? Cause.pretty(cause)
      : `worker-tetra failed in a way that it should not: ${message}\nSet LOG_LEVEL=debug to see where, and report it.`,
  );
  return yield* new Unforeseen();
});
