import { Effect, Option, Schema, Stream, SubscriptionRef } from "effect";

import type { AppProxy } from "./http/AppProxy.ts";

/** Why an app can't be served, as clients read it. */
export interface AppFailure {
  /** The step that failed, such as `import`. */
  readonly phase: string;
  /** What failed and why. */
  readonly reason: string;
  /** What to do about it. */
  readonly advice: string;
  /** Of Python; empty if there is none. */
  readonly traceback: string;
}

/** An app could not be launched. */
export class LaunchFailed extends Schema.TaggedError<LaunchFailed>()("LaunchFailed", {
  phase: Schema.String,
  reason: Schema.String,
  advice: Schema.String,
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

export const failureOf = ({ phase, reason, advice, traceback }: AppFailure): AppFailure => ({
  phase,
  reason,
  advice,
  traceback,
});

/** An app that accepts connections. */
export interface RunningApp {
  readonly proxy: AppProxy;
  /** Completes with the reason when the app's process has ended. */
  readonly ended: Effect.Effect<string>;
}

export interface FailedApp {
  readonly _tag: "Failed";
  readonly failure: AppFailure;
}

/** Whether an app can respond to requests. */
export type Availability =
  | { readonly _tag: "Starting" }
  | { readonly _tag: "Ready"; readonly app: RunningApp }
  | FailedApp;

export const STARTING: Availability = { _tag: "Starting" };

export type Settled = Exclude<Availability, { readonly _tag: "Starting" }>;

/** Waits until an app is ready or has failed. */
export const settled = (
  state: SubscriptionRef.SubscriptionRef<Availability>,
): Effect.Effect<Settled> =>
  SubscriptionRef.changes(state).pipe(
    Stream.filter((current): current is Settled => current._tag !== "Starting"),
    Stream.runHead,
    // The changes of a reference never end.
    Effect.flatMap(Option.match({ onNone: () => Effect.never, onSome: Effect.succeed })),
  );
