import { NodeHttpClient, NodeServices } from "@effect/platform-node";
import { Console, Effect, Layer, Runtime, Schema } from "effect";
import { CliOutput, Command } from "effect/cli";

import manifest from "../package.json" with { type: "json" };
import { Logging } from "./cli/Logging.ts";
import { doctor } from "./cli/doctor.ts";
import { invoke } from "./cli/invoke.ts";
import { prune } from "./cli/prune.ts";
import { run } from "./cli/run.ts";
import { serve } from "./cli/serve.ts";
import { Shutdown } from "./cli/Shutdown.ts";
import { start, startByDefault, startLayer } from "./cli/start.ts";
import { Telemetry } from "./cli/Telemetry.ts";
import { PythonRunner } from "./execution/PythonRunner.ts";
import { RemoteExecutor } from "./execution/RemoteExecutor.ts";
import { Environment } from "./settings/Environment.ts";

/** The command line could not be understood; the reason is on stderr already. */
class UsageError extends Schema.TaggedError<UsageError>()("UsageError", {}) {
  override readonly [Runtime.errorExitCode] = 2;
  override readonly [Runtime.errorReported] = false;
}

/** Help goes to stdout when somebody asked for it; what is wrong with a command goes to stderr. */
const Presenter = CliOutput.layerPresenter({
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Console.error(
          `${CliOutput.defaultFormatter({ colors: false }).formatErrors(event.errors).trim()}\n` +
            `Usage: ${event.helpDoc.usage}\nMore: ${event.commandPath.join(" ")} --help`,
        )
      : CliOutput.defaultPresenter.present(event),
});

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

const worker = Command.make("worker-tetra", {}, () =>
  Effect.provide(startByDefault, startLayer),
).pipe(
  Command.withDescription(
    "A worker for RunPod Serverless that runs Python sent by @remote. Without a command: start",
  ),
  Command.withSubcommands([
    start.pipe(Command.provide(startLayer)),
    run.pipe(Command.provide(Layer.mergeAll(RemoteExecutor.layer, PythonRunner.layer))),
    serve,
    invoke,
    doctor,
    prune,
  ]),
);

Command.run(worker, { version: manifest.version }).pipe(
  Effect.catchTag("ShowHelp", (help) =>
    help.errors.length === 0 ? Effect.void : Effect.fail(new UsageError()),
  ),
  Effect.provide(
    Layer.mergeAll(Presenter, Logging, Telemetry, Layer.succeed(Shutdown, shutdown)).pipe(
      Layer.provideMerge(Environment.layer),
      Layer.provideMerge(NodeServices.layer),
      Layer.provideMerge(NodeHttpClient.layerUndici),
    ),
  ),
  Effect.catchTag("SettingInvalid", (error) =>
    Effect.andThen(Console.error(error.message), Effect.fail(new UsageError())),
  ),
  runMain,
);
