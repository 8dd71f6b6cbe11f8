import { NodeRuntime, NodeServices } from "@effect/platform-node";
import { Console, Effect, Layer, Runtime, Schema } from "effect";
import { CliOutput, Command } from "effect/cli";

import manifest from "../package.json" with { type: "json" };
import { Logging } from "./cli/Logging.ts";
import { run } from "./cli/run.ts";
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

const worker = Command.make("worker-tetra").pipe(
  Command.withDescription("A worker for RunPod Serverless that runs Python sent by @remote"),
  Command.withSubcommands([
    run.pipe(Command.provide(Layer.mergeAll(RemoteExecutor.layer, PythonRunner.layer))),
  ]),
);

Command.run(worker, { version: manifest.version }).pipe(
  Effect.catchTag("ShowHelp", (help) =>
    help.errors.length === 0 ? Effect.void : Effect.fail(new UsageError()),
  ),
  Effect.provide(
    Layer.mergeAll(Presenter, Logging).pipe(
      Layer.provideMerge(Environment.layer),
      Layer.provideMerge(NodeServices.layer),
    ),
  ),
  Effect.catchTag("SettingInvalid", (error) =>
    Effect.andThen(Console.error(error.message), Effect.fail(new UsageError())),
  ),
  NodeRuntime.runMain,
);
