import { Effect } from "effect";

import { AppStart, RETRY_AFTER } from "../../apps/AppStart.ts";
import { AppStartFailed, startFailed } from "../../apps/AppStartFailed.ts";
import { startFailureOf } from "../../apps/start/Opening.ts";
import { launchApp } from "../../endpoint/AppLauncher.ts";
import { appRoutes } from "../../endpoint/AppRoutes.ts";
import { superviseApp } from "../../endpoint/AppSupervisor.ts";
import { LaunchFailed, maskedFailure } from "../../endpoint/Availability.ts";
import { Webhooks } from "../../queue/runpod/Webhooks.ts";
import { AppRunner } from "../../runner/apps/AppRunner.ts";
import { Environment } from "../../settings/Environment.ts";
import { ALLOW_EXECUTE, healthCheckPath } from "./GatewaySettings.ts";

/** Clients send it back to reach the same worker. RunPod's load balancer sets it too, to the same value. */
const WORKER_HEADER = "X-Runpod-Worker-Id";

const launchFailed = ({ phase, reason, advice, traceback }: AppStartFailed, isRetryable: boolean) =>
  new LaunchFailed({ phase, reason, advice, traceback, isRetryable });

/** Waits until the app has started, and serves its routes until the scope closes. */
const launch = Effect.gen(function* () {
  const { ready } = yield* AppStart;
  const runner = yield* AppRunner;
  const { workerId } = yield* Webhooks;
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
  return yield* Effect.mapError(launchApp(runner.serve, [WORKER_HEADER, workerId]), (error) =>
    launchFailed(startFailureOf(name, error), error._tag !== "AppOpenFailed"),
  );
});

/** The routes of a deployed app with a load balancer, which is started in the background. */
export const deployedApiRoutes = Effect.gen(function* () {
  const { mask } = yield* Environment;
  const state = yield* superviseApp(Effect.mapError(launch, maskedFailure(mask)), {
    retryAfter: yield* RETRY_AFTER.value,
  });
  return yield* appRoutes(state, {
    healthPath: yield* healthCheckPath,
    allowsExecute: yield* ALLOW_EXECUTE.value,
  });
});
