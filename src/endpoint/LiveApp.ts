import { createHash } from "node:crypto";

import {
  Context,
  Effect,
  Exit,
  Layer,
  Option,
  Ref,
  Schema,
  Scope,
  Semaphore,
  SubscriptionRef,
} from "effect";

import { superviseApp } from "./AppSupervisor.ts";
import {
  type Availability,
  type FailedApp,
  type LaunchFailed,
  launchOutcome,
  type RunningApp,
} from "./Availability.ts";

const Names = Schema.optional(Schema.NullOr(Schema.Array(Schema.String)));

/** The source of an `@app.api` resource, as a development session of SDK 2.0 sends it. */
export const LiveSource = Schema.Struct({
  source: Schema.String,
  /** The name of the resource in the source. */
  resource: Schema.String,
  dependencies: Names,
  system_dependencies: Names,
});
export type LiveSource = typeof LiveSource.Type;

/** The app of a source; its scope stops it. */
interface CurrentApp {
  readonly hash: string;
  readonly resource: string;
  readonly state: SubscriptionRef.SubscriptionRef<Availability>;
  readonly scope: Scope.Closeable;
}

/** Launches the app of a source; its scope stops it. */
export type LaunchLive = (
  source: LiveSource,
) => Effect.Effect<RunningApp, LaunchFailed, Scope.Scope>;

const hashOf = (source: string): string => createHash("sha256").update(source).digest("hex");

/** The app of a development session: clients replace its source while they edit it. */
export class LiveApp extends Context.Service<
  LiveApp,
  {
    /**
     * Serves the app of this source from now on, and returns the hash of the source. Does nothing if it is served
     * already. If it can't be launched, the previous app remains.
     */
    readonly sync: (source: LiveSource) => Effect.Effect<string, FailedApp>;
    /** Whether the app can respond; none before the first source. */
    readonly current: Effect.Effect<Option.Option<SubscriptionRef.SubscriptionRef<Availability>>>;
  }
>()("worker-tetra/endpoint/LiveApp") {
  static readonly layer = <R>(makeLaunch: Effect.Effect<LaunchLive, never, R>) =>
    Layer.effect(
      this,
      Effect.gen(function* () {
        const launch = yield* makeLaunch;
        const scope = yield* Effect.scope;
        const one = Semaphore.makeUnsafe(1);
        const current = yield* Ref.make(Option.none<CurrentApp>());

        /** Fails if the app can't be launched; its scope is closed then. */
        const start = Effect.fnUntraced(function* (source: LiveSource, appScope: Scope.Scope) {
          const state = yield* Scope.provide(superviseApp(launch(source)), appScope);
          const outcome = yield* launchOutcome(state);
          return outcome._tag === "Failed" ? yield* Effect.fail(outcome) : state;
        });

        const replace = (source: LiveSource, hash: string) =>
          Effect.uninterruptibleMask(
            Effect.fnUntraced(function* (restore) {
              const appScope = yield* Scope.fork(scope);
              const state = yield* restore(start(source, appScope)).pipe(
                Effect.onError((cause) => Scope.close(appScope, Exit.failCause(cause))),
              );
              const { resource } = source;
              const previous = yield* Ref.getAndSet(
                current,
                Option.some({ hash, resource, state, scope: appScope }),
              );
              if (Option.isNone(previous)) return;
              // It may take seconds to finish its requests.
              yield* Effect.forkIn(Scope.close(previous.value.scope, Exit.void), scope);
            }),
          );

        const isServed = Effect.fnUntraced(function* ({ resource }: LiveSource, hash: string) {
          const served = Option.getOrUndefined(yield* Ref.get(current));
          if (served?.hash !== hash || served.resource !== resource) return false;
          return (yield* SubscriptionRef.get(served.state))._tag !== "Failed";
        });

        const sync = Effect.fnUntraced(function* (source: LiveSource) {
          const hash = hashOf(source.source);
          if (!(yield* isServed(source, hash))) yield* replace(source, hash);
          return hash;
        });

        return LiveApp.of({
          sync: (source) => one.withPermits(1)(sync(source)),
          current: Effect.map(
            Ref.get(current),
            Option.map(({ state }) => state),
          ),
        });
      }),
    );
}
