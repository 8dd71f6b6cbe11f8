import { Effect, Layer, Predicate, type Schema } from "effect";

import { AppHandler } from "../../apps/AppHandler.ts";
import { startFailed } from "../../apps/AppStartFailed.ts";
import type { EncodedOutput } from "../../domain/EncodedOutput.ts";
import { failure, success } from "../../domain/FunctionResponse.ts";
import { withTraceback } from "../../settings/ErrorText.ts";
import { LOCAL_LIMIT } from "../../settings/ResponseLimits.ts";
import { type LocalAppOptions, localAppLayer, localApps } from "../modes/LocalApps.ts";
import { refuse } from "../process/CommandFailure.ts";
import { RequestExecutor } from "./RequestExecutor.ts";

/** The output of an app as a response, so that it is displayed and compared like those of live requests. */
const responseOf = (output: EncodedOutput) => {
  const document: { readonly output?: Schema.Json; readonly error?: Schema.Json } = JSON.parse(
    Buffer.from(output.toResult(false)).toString(),
  );
  const { output: value = null, error } = document;
  if (error === undefined) return success({ json_result: value });
  const message = typeof error === "string" ? error : JSON.stringify(error);
  const traceback = Predicate.hasProperty(value, "traceback") ? String(value.traceback) : "";
  return failure(withTraceback(message, traceback), { json_result: value });
};

/** The one resource that runs jobs. */
const jobApp = Effect.fnUntraced(function* (options: LocalAppOptions) {
  const apps = yield* localApps(options);
  const [app, ...others] = apps.filter(({ resource }) => resource.kind === "queue");
  if (app !== undefined && others.length === 0) return app;
  const names = apps.map(({ resource }) => `${resource.name} (${resource.kind})`).join(", ");
  return yield* startFailed(
    "locate",
    app === undefined
      ? `${options.path} has no resource that runs jobs: ${names}`
      : `${options.path} has several resources: ${names}`,
    app === undefined ? "Use `worker-tetra serve --app`." : "Choose one with --resource.",
  );
});

/** Runs requests as jobs of a deployed app. */
export const appExecutor = (options: LocalAppOptions) =>
  Layer.unwrap(
    jobApp(options).pipe(
      Effect.map((app) =>
        Layer.effect(
          RequestExecutor,
          Effect.map(AppHandler, ({ handle }) => ({
            execute: (request) =>
              Effect.map(handle({ id: "local", ...request }, LOCAL_LIMIT), responseOf),
          })),
        ).pipe(Layer.provide(localAppLayer(app, {}))),
      ),
      Effect.catchTag("AppStartFailed", refuse),
    ),
  );
