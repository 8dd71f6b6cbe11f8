import { NodeHttpClient, NodeServices } from "@effect/platform-node";
import { Console, Context, Effect, Fiber, Layer, Runtime } from "effect";

import { commandLine } from "../../../src/cli/CommandLine.ts";
import { reportInternalError } from "../../../src/cli/process/CommandFailure.ts";
import { Shutdown } from "../../../src/cli/process/Shutdown.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { keptLogs } from "../fakes/CapturedLogs.ts";

const textOf = (lines: ReadonlyArray<string>) => lines.map((line) => `${line}\n`).join("");

/**
 * Runs a command line in this process, as `main.ts` does, until it ends or the scope closes. Captures its output and
 * logs.
 */
export const startCommandLine = Effect.fnUntraced(function* (
  args: ReadonlyArray<string>,
  variables: Readonly<Record<string, string | undefined>>,
) {
  const lines = { stdout: new Array<string>(), stderr: new Array<string>() };
  const shutdown = Shutdown.make();
  const logs = keptLogs();
  // With an empty context, so that it does not use services of another command line.
  const runFork = Effect.runForkWith(Context.empty());
  const fiber = yield* Effect.acquireRelease(
    Effect.sync(() =>
      runFork(
        commandLine(args).pipe(
          Effect.catchCause(reportInternalError),
          Effect.provideService(Console.Console, {
            ...globalThis.console,
            log: (line: unknown) => lines.stdout.push(String(line)),
            error: (line: unknown) => lines.stderr.push(String(line)),
          }),
          Effect.provide(
            Layer.mergeAll(
              NodeServices.layer,
              NodeHttpClient.layerUndici,
              Layer.succeed(Shutdown, shutdown),
              logs.layer,
              Environment.layerOf(variables),
            ),
          ),
        ),
      ),
    ),
    Fiber.interrupt,
  );
  return {
    stdout: () => textOf(lines.stdout),
    stderr: () => textOf(lines.stderr),
    logs,
    /** Has the effect of the first SIGINT or SIGTERM. */
    signal: Effect.sync(shutdown.request),
    /** The exit code. */
    ended: Effect.map(Fiber.await(fiber), (exit) => {
      let code = 0;
      Runtime.defaultTeardown(exit, (status) => {
        code = status;
      });
      return code;
    }),
  };
});

/** Runs a command line until it ends. */
export const runCommandLine = (
  args: ReadonlyArray<string>,
  variables: Readonly<Record<string, string | undefined>>,
) =>
  Effect.gen(function* () {
    const { stdout, stderr, ended } = yield* startCommandLine(args, variables);
    const code = yield* ended;
    return { code, stdout: stdout(), stderr: stderr() };
  }).pipe(Effect.scoped);
