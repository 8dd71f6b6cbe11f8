import {
  Clock,
  Context,
  Duration,
  Effect,
  Fiber,
  FileSystem,
  Layer,
  Option,
  References,
  Schedule,
  SubscriptionRef,
  SynchronizedRef,
} from "effect";

import { DependencyInstaller } from "../dependencies/DependencyInstaller.ts";
import type { AppClient } from "../domain/DeployedApp.ts";
import { MAX_FAILURES_IN_A_ROW } from "../health/JobHealth.ts";
import { safeFileSystem } from "../platform/files/SafeFileSystem.ts";
import type { AppOpened } from "../runner/apps/AppProcess.ts";
import { AppRunner } from "../runner/apps/AppRunner.ts";
import { endOfFailure } from "../runner/call/JobEnds.ts";
import { withTraceback } from "../settings/ErrorText.ts";
import * as Setting from "../settings/Setting.ts";
import { stopwatch } from "../settings/SteadyClock.ts";
import type { PreparedWorkspace, WorkspaceError } from "../workspace/PreparedWorkspace.ts";
import { Workspace } from "../workspace/Workspace.ts";
import { AppStartFailed, startFailed, TRY_AGAIN, withoutStop } from "./AppStartFailed.ts";
import { AppArtifact } from "./artifact/AppArtifact.ts";
import type { App } from "./manifest/App.ts";
import { makeAppOpening } from "./start/Opening.ts";
import { verifyApp } from "./start/Verification.ts";

export const RETRY_AFTER = Setting.seconds({
  name: "WORKER_APP_RETRY",
  doc: "Minimum time after a failed start of a deployed app before a job starts it again, or the worker itself behind a load balancer. Jobs and requests fail with the same error until then.",
  minimum: Duration.zero,
  fallback: Duration.seconds(30),
});

/** An app that is ready for jobs or requests. */
export interface StartedApp {
  readonly app: App;
  /** The number of its jobs that run at the same time. */
  readonly concurrency: number;
}

export type AppState =
  | { readonly _tag: "Starting" }
  | { readonly _tag: "Ready"; readonly started: StartedApp }
  /** `at` is the time of the failure, in milliseconds. */
  | { readonly _tag: "Failed"; readonly failure: AppStartFailed; readonly at: number };

/** A class has one instance, so its synchronous methods run one at a time. */
const concurrencyOf = ({ maxConcurrency }: App, { overlaps, isSingleton }: AppOpened): number =>
  isSingleton && !overlaps ? 1 : maxConcurrency;

/** Whether Python could not be started, which is not the fault of the app. */
export const isMachineFault = ({ end }: AppStartFailed): boolean =>
  end === "launch" || end === "workspace";

const noWorkspace = (error: WorkspaceError) =>
  new AppStartFailed({
    phase: "verify",
    reason: `The Python environment of this worker can't be used. ${withoutStop(error.message)}`,
    advice: TRY_AGAIN,
    traceback: "",
    end: endOfFailure(error),
  });

/** Measures the phases of a start. */
const makePhases = () => {
  const durations: Array<string> = [];
  return {
    measure: <A, E, R>(name: string, phase: Effect.Effect<A, E, R>) =>
      Effect.flatMap(stopwatch, (elapsed) =>
        Effect.ensuring(
          phase,
          Effect.map(elapsed, (duration) =>
            durations.push(`${name} ${Duration.toSeconds(duration).toFixed(2)} s`),
          ),
        ),
      ),
    summary: () => durations.join(", "),
  };
};

/** Makes an effect that runs all phases of a start once; `located` receives the app as soon as it is known. */
const makeStartOnce = Effect.fnUntraced(function* (located: (app: App) => void) {
  const artifact = yield* AppArtifact;
  const workspace = yield* Workspace;
  const { prestart, open, installSystem } = yield* makeAppOpening;

  const prestartIfExpected = Effect.fnUntraced(function* (prepared: PreparedWorkspace) {
    const expected = yield* artifact.expected;
    if (Option.isSome(expected)) yield* prestart(expected.value, prepared);
  });

  const run = Effect.fnUntraced(function* ({ measure }: ReturnType<typeof makePhases>) {
    const [app, prepared] = yield* Effect.all(
      [
        measure("locate", artifact.locate),
        measure("workspace", Effect.mapError(workspace.ready, noWorkspace)).pipe(
          Effect.tap(prestartIfExpected),
        ),
      ],
      { concurrency: 2 },
    );
    located(app);
    const { name } = app.resource;
    const verified = yield* measure("verify", verifyApp(app, prepared));
    const system = (packages: ReadonlyArray<string>) =>
      packages.length === 0
        ? Effect.succeed(verified)
        : measure("system", installSystem(name, packages, verified));
    const opened = yield* measure("open", open(app, yield* system(app.systemDependencies)));
    // Apps of Flash name them only in their code.
    yield* system(opened.systemDependencies);
    const started: StartedApp = { app, concurrency: concurrencyOf(app, opened) };
    return started;
  });

  return () => {
    const phases = makePhases();
    return run(phases).pipe(
      // A worker on such a machine is replaced, so it is tried more than once.
      Effect.retry({
        while: isMachineFault,
        schedule: Schedule.exponential("1 second"),
        times: MAX_FAILURES_IN_A_ROW - 1,
      }),
      Effect.tap(({ app, concurrency }) =>
        Effect.logInfo(
          `App ready: ${app.resource.name} (${app.resource.client === "flash" ? "Flash" : "SDK 2.0"}), ${concurrency} ${concurrency === 1 ? "job" : "jobs"} at a time (${phases.summary()})`,
        ),
      ),
      Effect.tapError(({ phase, message, traceback }) =>
        Effect.logError(
          `App failed to start in '${phase}' (${phases.summary()}): ${withTraceback(message, traceback)}`,
        ),
      ),
      Effect.withSpan("AppStart.start"),
    );
  };
});

type Attempt = Fiber.Fiber<StartedApp, AppStartFailed>;

const internalError = (defect: unknown) =>
  Effect.logError("Internal error in the start of the app", defect).pipe(
    Effect.andThen(startFailed("verify", `Internal error: ${String(defect)}`, TRY_AGAIN)),
  );

/**
 * Starts a deployed app: finds and unpacks it, compares it with this machine, installs packages, imports its modules
 * and constructs its objects.
 */
export class AppStart extends Context.Service<
  AppStart,
  {
    /**
     * Waits until the app has started. The first call starts it, in the background; a call at least WORKER_APP_RETRY
     * after a failed start starts it again. An interruption of a call does not affect the start.
     */
    readonly ready: Effect.Effect<StartedApp, AppStartFailed>;
    readonly state: SubscriptionRef.SubscriptionRef<AppState>;
    /** The SDK that built the app; undefined until the app is found. */
    readonly client: () => AppClient | undefined;
  }
>()("worker-tetra/apps/AppStart") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const retryAfter = Duration.toMillis(yield* RETRY_AFTER.value);
      const scope = yield* Effect.scope;
      const services = yield* Effect.context<DependencyInstaller | FileSystem.FileSystem>();
      let client: AppClient | undefined;
      const startOnce = yield* makeStartOnce(({ resource }) => {
        client = resource.client;
      });
      const state = yield* SubscriptionRef.make<AppState>({ _tag: "Starting" });
      const attempt = yield* SynchronizedRef.make<Attempt | undefined>(undefined);

      const start = SubscriptionRef.set(state, { _tag: "Starting" }).pipe(
        Effect.andThen(
          Effect.suspend(startOnce).pipe(
            Effect.provideContext(services),
            // Its log messages are not those of the job that waits for it first.
            Effect.provideService(References.CurrentLogAnnotations, {}),
            Effect.catchDefect(internalError),
            Effect.tap((started) => SubscriptionRef.set(state, { _tag: "Ready", started })),
            Effect.tapError((failure) =>
              Effect.flatMap(Clock.currentTimeMillis, (at) =>
                SubscriptionRef.set(state, { _tag: "Failed", failure, at }),
              ),
            ),
            Effect.forkIn(scope),
          ),
        ),
      );

      const currentOrNew = SynchronizedRef.modifyEffect(
        attempt,
        Effect.fnUntraced(function* (current) {
          const last = SubscriptionRef.getUnsafe(state);
          const isDue =
            last._tag === "Failed" && (yield* Clock.currentTimeMillis) - last.at >= retryAfter;
          const next = current === undefined || isDue ? yield* start : current;
          return [next, next] as const;
        }),
      );

      return AppStart.of({
        ready: Effect.flatMap(currentOrNew, Fiber.join),
        state,
        client: () => client,
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([DependencyInstaller.layer, Workspace.layer, AppRunner.layer, AppArtifact.layer]),
    Layer.provide(safeFileSystem),
  );
}
