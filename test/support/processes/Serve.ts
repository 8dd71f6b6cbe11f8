import { Effect } from "effect";

import { eventually } from "../effects/Waiting.ts";
import { startCommandLine } from "./CommandLineRun.ts";
import { realEnvironment } from "./RealWorker.ts";
import { workerProcess } from "./WorkerProcess.ts";

const portIn = (text: string) => Number(/on http:\/\/[^ ]+:(\d+)/.exec(text)?.[1] ?? 0);

/** `serve` in this process on a free port, until the scope closes. */
export const serveInProcess = Effect.fnUntraced(function* (
  args: ReadonlyArray<string> = [],
  variables: Readonly<Record<string, string>> = {},
) {
  const command = yield* startCommandLine(["serve", "--port", "0", ...args], {
    ...realEnvironment(),
    ...variables,
  });
  yield* eventually(() => portIn(command.stderr()) > 0);
  const port = portIn(command.stderr());
  return { ...command, port, url: `http://127.0.0.1:${port}` };
});

/** `serve` as a program of its own on a free port, killed when the scope closes. */
export const serveProcess = Effect.fnUntraced(function* (
  args: ReadonlyArray<string> = [],
  variables: Readonly<Record<string, string>> = {},
) {
  const process = yield* workerProcess(variables, ["serve", "--port", "0", ...args]);
  // A program loads for long on a machine that is busy with other tests.
  yield* eventually(() => portIn(process.stderr()) > 0).pipe(Effect.retry({ times: 4 }));
  const port = portIn(process.stderr());
  return { ...process, port, url: `http://127.0.0.1:${port}` };
});
