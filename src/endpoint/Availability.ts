import { Effect, Option, Schema, Stream, SubscriptionRef } from "effect";

import type { AppProxy } from "./http/AppProxy.ts";

/** An app can't be served. */
export class LaunchFailed extends Schema.TaggedError<LaunchFailed>()("LaunchFailed", {
  /** The step that failed, such as `import`. */
  phase: Schema.String,
  /** What failed and why. */
  reason: Schema.String,
  /** What to do about it. */
  advice: Schema.String,
  /** Of Python; empty if there is none. */
  traceback: Schema.String,
  /** Whether a process ended, so that another attempt may succeed. */
  isRetryable: Schema.Boolean,
}) {
  override get message(): string {
    return `${this.reason}. ${this.advice}`;
  }
}

/** The same failure without the secrets in its texts. */
export const maskedFailure =
  (mask: (text: string) => string) =>
  ({ phase, reason, advice, traceback, isRetryable }: LaunchFailed): LaunchFailed =>
    new LaunchFailed({
      phase,
      reason: mask(reason),
      advice,
      traceback: mask(traceback),
      isRetryable,
    });

/** An app that accepts connections. */
export interface RunningApp {
  readonly proxy: AppProxy;
  /** Completes with the reason when the app's process has ended. */
  readonly ended: Effect.Effect<string>;
}

export interface FailedApp {
  readonly _tag: "Failed";
  readonly failure: LaunchFailed;
}

/** Whether an app can respond to requests. */
export type Availability =
  | { readonly _tag: "Starting" }
  | { readonly _tag: "Ready"; readonly app: RunningApp }
  | FailedApp;

export const STARTING: Availability = { _tag: "Starting" };

type LaunchOutcome = Exclude<Availability, { readonly _tag: "Starting" }>;

/** Waits until an app is ready or has failed. */
export const launchOutcome = (
  state: SubscriptionRef.SubscriptionRef<Availability>,
): Effect.Effect<LaunchOutcome> =>
  SubscriptionRef.changes(state).pipe(
    Stream.filter((current): current is LaunchOutcome => current._tag !== "Starting"),
    Stream.runHead,
    // The changes of a reference never end.
    Effect.flatMap(Option.match({ onNone: () => Effect.never, onSome: Effect.succeed })),
  );
