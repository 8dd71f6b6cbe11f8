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

/** 128 and the number of the signal, as shells report a process that ended by it. */
const EXIT_CODES: Readonly<Record<ShutdownSignal, number>> = {
  SIGHUP: 129,
  SIGINT: 130,
  SIGTERM: 143,
};

/** A signal that no command handles interrupts the command; another one exits at once. */
const runMain = Runtime.makeRunMain(({ fiber, teardown }) => {
  let code: number | undefined;
  let isOver = false;
  const respond = signalResponder(shutdown, () => performance.now());
  const onSignal = (signal: ShutdownSignal) => {
    const response = respond(signal);
    if (response === "ignore" || (response === "finish" && !isOver)) return;
    code = EXIT_CODES[signal];
    // Once the command is over, only its output may still be waiting for a reader.
    if (response === "exit" || isOver) process.exit(code);
    fiber.interruptUnsafe(fiber.id);
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  process.on("SIGHUP", onSignal);
  fiber.addObserver((exit) => {
    teardown(exit, (status) => {
      isOver = true;
      code ??= status;
      void streams.flush().then((lost) => {
        process.exit(code === 0 && lost !== undefined ? 1 : code);
      });
    });
  });
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
  // Those of the logs themselves.
  Effect.catchTag("SettingInvalid", refuse),
  runMain,
);
