import { Effect, Option, Stream, SubscriptionRef } from "effect";

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

/** An app that accepts connections. */
export interface RunningApp {
  readonly proxy: AppProxy;
  /** Completes with the reason when the app's process has ended. */
  readonly ended: Effect.Effect<string>;
}

/** Whether an app can respond to requests. */
export type AppState =
  | { readonly _tag: "Starting" }
  | { readonly _tag: "Ready"; readonly app: RunningApp }
  | { readonly _tag: "Failed"; readonly failure: AppFailure };

export const STARTING: AppState = { _tag: "Starting" };

export type SettledState = Exclude<AppState, { readonly _tag: "Starting" }>;

/** Waits until an app is ready or has failed. */
export const settled = (
  state: SubscriptionRef.SubscriptionRef<AppState>,
): Effect.Effect<SettledState> =>
  SubscriptionRef.changes(state).pipe(
    Stream.filter((current): current is SettledState => current._tag !== "Starting"),
    Stream.runHead,
    // The changes of a reference never end.
    Effect.flatMap(Option.match({ onNone: () => Effect.never, onSome: Effect.succeed })),
  );
