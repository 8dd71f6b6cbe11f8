import { NodeHttpClient, NodeServices } from "@effect/platform-node";
import { Effect, Layer, Runtime } from "effect";

import { commandLine } from "./cli/CommandLine.ts";
import { refuse, reportInternalError } from "./cli/process/CommandFailure.ts";
import { Logging } from "./cli/process/Logging.ts";
import { Shutdown, signalResponder } from "./cli/process/Shutdown.ts";
import { standardStreams } from "./cli/process/StandardStreams.ts";
import { Telemetry } from "./cli/process/Telemetry.ts";
import { Environment } from "./settings/Environment.ts";
import { SteadyClock } from "./settings/SteadyClock.ts";

const shutdown = Shutdown.make();
const streams = standardStreams();

type ShutdownSignal = "SIGHUP" | "SIGINT" | "SIGTERM";

/** 128 plus the signal number, as in shells. */
const EXIT_CODES: Readonly<Record<ShutdownSignal, number>> = {
  SIGHUP: 129,
  SIGINT: 130,
  SIGTERM: 143,
};

/** A signal that the command does not handle interrupts it; the next signal exits at once. */
const runMain = Runtime.makeRunMain(({ fiber, teardown }) => {
  let code: number | undefined;
  let hasEnded = false;
  const respond = signalResponder(shutdown, () => performance.now());
  const onSignal = (signal: ShutdownSignal) => {
    const response = respond(signal);
    if (response === "ignore" || (response === "finish" && !hasEnded)) return;
    code = EXIT_CODES[signal];
    // After the command has ended, only unread output can be pending.
    if (response === "exit" || hasEnded) process.exit(code);
    fiber.interruptUnsafe(fiber.id);
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  process.on("SIGHUP", onSignal);
  const end = (status: number) => {
    hasEnded = true;
    code ??= status;
    void streams.flush().then((failure) => {
      process.exit(code === 0 && failure !== undefined ? 1 : code);
    });
  };
  fiber.addObserver((exit) => teardown(exit, end));
});

commandLine().pipe(
  Effect.catchCause(reportInternalError),
  Effect.provide(
    Layer.mergeAll(Logging, Telemetry, Layer.succeed(Shutdown, shutdown)).pipe(
      Layer.provideMerge(Environment.layer),
      Layer.provideMerge(NodeServices.layer),
      Layer.provideMerge(NodeHttpClient.layerUndici),
      Layer.provideMerge(SteadyClock),
    ),
  ),
  // Invalid settings of the layers above, such as the log level.
  Effect.catchTag("SettingInvalid", refuse),
  runMain,
);
