import { Effect } from "effect";

import { AppStart } from "../../apps/AppStart.ts";
import { AppStartFailed, startFailed } from "../../apps/AppStartFailed.ts";
import { startFailureOf } from "../../apps/start/Opening.ts";
import { launchApp } from "../../endpoint/AppLauncher.ts";
import { ALLOW_EXECUTE, appRoutes } from "../../endpoint/AppRoutes.ts";
import { superviseApp } from "../../endpoint/AppSupervisor.ts";
import { LaunchFailed } from "../../endpoint/Availability.ts";
import { healthCheckPath } from "../../endpoint/HealthCheck.ts";
import { AppRunner } from "../../runner/apps/AppRunner.ts";

const launchFailed = ({ phase, reason, advice, traceback }: AppStartFailed, isRetryable: boolean) =>
  new LaunchFailed({ phase, reason, advice, traceback, isRetryable });

/** Waits until the app has started, and serves its routes until the scope closes. */
const launch = Effect.gen(function* () {
  const { ready } = yield* AppStart;
  const runner = yield* AppRunner;
  const { app } = yield* Effect.mapError(ready, (failure) => launchFailed(failure, false));
  const { name, kind } = app.resource;
  if (kind === "queue") {
    const failure = startFailed(
      "locate",
      `${name} runs jobs from a queue and serves no HTTP requests`,
      "Deploy it to an endpoint with a queue.",
    );
    return yield* launchFailed(failure, false);
  }
  return yield* Effect.mapError(launchApp(runner.serve, []), (error) =>
    launchFailed(startFailureOf(name, error), error._tag !== "AppOpenFailed"),
  );
});

/** The routes of a deployed app with a load balancer, which is started in the background. */
export const deployedApi = Effect.gen(function* () {
  const state = yield* superviseApp(launch);
  const routes = yield* appRoutes(state, {
    healthPath: yield* healthCheckPath,
    allowsExecute: yield* ALLOW_EXECUTE.value,
  });
  return { state, routes };
});
