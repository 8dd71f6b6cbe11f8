import { NodeHttpClient, NodeServices } from "@effect/platform-node";
import { Effect, Layer, Runtime } from "effect";

import { commandLine } from "./cli/CommandLine.ts";
import { refuse, unforeseen } from "./cli/Failure.ts";
import { Logging } from "./cli/Logging.ts";
import { Shutdown } from "./cli/Shutdown.ts";
import { Telemetry } from "./cli/Telemetry.ts";
import { Environment } from "./settings/Environment.ts";
import { SteadyClock } from "./settings/SteadyClock.ts";

const shutdown = Shutdown.make();

/** A signal that no command takes on ends the process in order; one more ends it at once. */
const runMain = Runtime.makeRunMain(({ fiber, teardown }) => {
  let code: number | undefined;
  const onSignal = (signal: "SIGINT" | "SIGTERM") => {
    if (shutdown.request()) return;
    const isSecond = code !== undefined || shutdown.isRequested();
    code = signal === "SIGINT" ? 130 : 143;
    if (isSecond) process.exit(code);
    fiber.interruptUnsafe(fiber.id);
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  fiber.addObserver((exit) => {
    teardown(exit, (status) => process.exit(code ?? status));
  });
});

commandLine().pipe(
  Effect.catchCause(unforeseen),
  Effect.provide(
    Layer.mergeAll(Logging, Telemetry, Layer.succeed(Shutdown, shutdown)).pipe(
      Layer.provideMerge(Environment.layer),
      Layer.provideMerge(NodeServices.layer),
      Layer.provideMerge(NodeHttpClient.layerUndici),
      Layer.provideMerge(SteadyClock),
    ),
  ),
  // Those of the logs themselves.
  Effect.catchTag("SettingInvalid", refuse),
  runMain,
);
