import { Duration, Effect, Schedule, Schema, SubscriptionRef } from "effect";

import { stopwatch } from "../settings/SteadyClock.ts";
import { type Availability, LaunchFailed, type RunningApp, STARTING } from "./Availability.ts";

/** The number of ends in a row after which an app is not started again. */
export const MAX_ENDS = 3;

/** An app that ran at least this long was healthy: earlier ends do not count. */
const HEALTHY_AFTER = Duration.minutes(1);

/** The process of an app ended soon after its start. */
class AppEnded extends Schema.TaggedError<AppEnded>()("AppEnded", { reason: Schema.String }) {
  override get message(): string {
    return this.reason;
  }
}

const failureOf = (error: AppEnded | LaunchFailed): LaunchFailed =>
  error._tag === "LaunchFailed"
    ? error
    : new LaunchFailed({
        phase: "serve",
        reason: `The app's process ended ${MAX_ENDS} times in a row. ${error.reason}`,
        advice: "See the worker's log for its output; correct the code and deploy it again.",
        traceback: "",
        isRetryable: false,
      });

const internalError = (defect: unknown) =>
  Effect.andThen(
    Effect.logError("Internal error in an app's server", defect),
    new LaunchFailed({
      phase: "serve",
      reason: `Internal error: ${String(defect)}`,
      advice: "See the worker's log, and report the error.",
      traceback: "",
      isRetryable: false,
    }),
  );

/** Runs an app until its process ends; fails if that is soon. */
const runOnce = Effect.fnUntraced(function* <R>(
  launch: Effect.Effect<RunningApp, LaunchFailed, R>,
  state: SubscriptionRef.SubscriptionRef<Availability>,
) {
  const app = yield* launch;
  const age = yield* stopwatch;
  yield* SubscriptionRef.set(state, { _tag: "Ready", app });
  const reason = yield* app.ended;
  yield* SubscriptionRef.set(state, STARTING);
  yield* Effect.logWarning(`The app's process ended: ${reason} Starting it again`);
  if (Duration.isLessThan(yield* age, HEALTHY_AFTER)) return yield* new AppEnded({ reason });
});

/**
 * Launches an app, and again when its process ends, with growing delays. Gives up after MAX_ENDS, and at once if an
 * attempt can't succeed; starts over after `retryAfter`, if it is given. Returns whether the app can respond to requests.
 */
export const superviseApp = Effect.fnUntraced(function* <R>(
  launch: Effect.Effect<RunningApp, LaunchFailed, R>,
  { retryAfter = Duration.infinity }: { readonly retryAfter?: Duration.Duration } = {},
) {
  const state = yield* SubscriptionRef.make(STARTING);
  yield* Effect.scoped(runOnce(launch, state)).pipe(
    Effect.catchDefect(internalError),
    Effect.retry({
      schedule: Schedule.exponential("1 second"),
      times: MAX_ENDS - 1,
      while: (error) => error._tag === "AppEnded" || error.isRetryable,
    }),
    Effect.forever,
    Effect.tapError((error) =>
      Effect.andThen(
        SubscriptionRef.set(state, { _tag: "Failed", failure: failureOf(error) }),
        Effect.logError(`The app can't be served: ${error.message}`),
      ),
    ),
    Effect.retry(Schedule.spaced(retryAfter)),
    Effect.forkScoped,
  );
  return state;
});
