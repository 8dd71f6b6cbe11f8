import { Context, Duration, Effect, Latch } from "effect";

/**
 * A terminal can send a signal twice for one event: Ctrl-C goes to npm and to the worker, and npm forwards its own; a
 * terminal that closes sends SIGHUP, and so does its shell. The same signal within this time is therefore ignored. A
 * second SIGTERM always counts: platforms send it to end the process at once.
 */
const SAME_EVENT = Duration.seconds(1);
const FROM_TERMINAL: ReadonlySet<NodeJS.Signals> = new Set(["SIGINT", "SIGHUP"]);

/** Shutdown by signals: the first signal asks the command to finish, if it can; the next one exits at once. */
export class Shutdown extends Context.Service<
  Shutdown,
  {
    /** Completes when shutdown is requested. A command that waits for it is responsible for finishing. */
    readonly requested: Effect.Effect<void>;
    /** Requests shutdown; false if no command waits for it. */
    readonly request: () => boolean;
  }
>()("worker-tetra/cli/process/Shutdown") {
  static make(): Shutdown["Service"] {
    const latch = Latch.makeUnsafe();
    let isAwaited = false;
    return Shutdown.of({
      requested: Effect.suspend(() => {
        isAwaited = true;
        return latch.await;
      }),
      request: () => {
        if (!isAwaited || latch.isOpen()) return false;
        latch.openUnsafe();
        return true;
      },
    });
  }
}

/** What a signal does: nothing, ask the command to finish, interrupt it, or exit at once. */
export type SignalResponse = "ignore" | "finish" | "interrupt" | "exit";

/** Returns what each signal of a process does. `now` is a monotonic clock in milliseconds. */
export const signalResponder = (shutdown: Shutdown["Service"], now: () => number) => {
  let first: { readonly signal: NodeJS.Signals; readonly at: number } | undefined;
  return (signal: NodeJS.Signals): SignalResponse => {
    if (first === undefined) {
      first = { signal, at: now() };
      return shutdown.request() ? "finish" : "interrupt";
    }
    const isSameEvent =
      FROM_TERMINAL.has(signal) &&
      signal === first.signal &&
      now() - first.at < Duration.toMillis(SAME_EVENT);
    return isSameEvent ? "ignore" : "exit";
  };
};
