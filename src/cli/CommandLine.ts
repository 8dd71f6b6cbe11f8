import { Console, Effect, Layer, Option } from "effect";
import { CliOutput, Command } from "effect/cli";

import manifest from "../../package.json" with { type: "json" };
import { RemoteExecutor } from "../functions/RemoteExecutor.ts";
import { safeFileSystem } from "../platform/files/SafeFileSystem.ts";
import { doctor } from "./commands/doctor.ts";
import { invoke } from "./commands/invoke.ts";
import { prune } from "./commands/prune.ts";
import { run } from "./commands/run.ts";
import { serve } from "./commands/serve.ts";
import { start, startByDefault, startLayer } from "./commands/start.ts";
import { Failed, refuse } from "./process/CommandFailure.ts";
import { appExecutor } from "./requests/AppExecutor.ts";
import { RequestExecutor } from "./requests/RequestExecutor.ts";
import { displayOf } from "./results/ResultDisplay.ts";
import { visibleConsole } from "./results/TerminalText.ts";

/** Help goes to stdout if it was requested; usage errors go to stderr. */
const Presenter = CliOutput.layerPresenter({
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Console.error(
          `${CliOutput.defaultFormatter({ colors: false }).formatErrors(event.errors).trim()}\n` +
            `Usage: ${event.helpDoc.usage}\nMore: ${event.commandPath.join(" ")} --help`,
        )
      : CliOutput.defaultPresenter.present(event),
});

/** Commands print text from jobs, servers and disks, which must not control the terminal. */
const visible = Layer.effect(Console.Console, Effect.map(Console.Console, visibleConsole));

const worker = Command.make("worker-tetra", {}, () =>
  Effect.provide(startByDefault, Layer.merge(startLayer, visible)),
).pipe(
  Command.withDescription(
    "Worker for RunPod Serverless that runs Python functions and classes sent by @remote. Default command: start",
  ),
  Command.withExamples([
    { command: "worker-tetra serve", description: "Start a local endpoint for development" },
    { command: "worker-tetra doctor", description: "Check this machine" },
    {
      command: "worker-tetra --completions bash >> ~/.bashrc",
      description: "Install shell completion for bash",
    },
  ]),
  Command.withSubcommands([
    start.pipe(Command.provide(Layer.merge(startLayer, visible))),
    run.pipe(
      Command.provide(({ load, app, resource }) =>
        Layer.mergeAll(
          Option.match(app, {
            onNone: () => RequestExecutor.layerLive.pipe(Layer.provide(RemoteExecutor.layer)),
            onSome: (path) => appExecutor({ path, resource }),
          }),
          displayOf(load),
          visible,
        ),
      ),
    ),
    serve.pipe(Command.provide(visible)),
    invoke.pipe(Command.provide(visible)),
    doctor.pipe(Command.provide(visible)),
    prune.pipe(Command.provide(visible)),
  ]),
);

/** Runs the command line with these arguments, or with those of the process. */
export const commandLine = (args?: ReadonlyArray<string>) =>
  (args === undefined
    ? Command.run(worker, { version: manifest.version })
    : Command.runWith(worker, { version: manifest.version })(args)
  ).pipe(
    Effect.catchTags({
      ShowHelp: ({ errors }) =>
        errors.length === 0 ? Effect.void : Effect.fail(new Failed({ exitCode: 2 })),
      SettingInvalid: refuse,
    }),
    Effect.provide(Layer.merge(Presenter, safeFileSystem)),
  );
