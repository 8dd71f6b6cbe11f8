import { Effect } from "effect";

import { eventually } from "../effects/Waiting.ts";
import { startCommandLine } from "./CommandLineRun.ts";
import { realEnvironment } from "./RealWorker.ts";
import { workerProcess } from "./WorkerProcess.ts";

const ADDRESS = /on http:\/\/[^ ]+:(\d+)\D/;

const portIn = (text: string) => Number(ADDRESS.exec(text)?.[1] ?? 0);

const urlOf = (port: number) => `http://127.0.0.1:${port}`;

/** Runs `serve` in this process on a free port, until the scope closes. */
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
  return { ...command, port, url: urlOf(port) };
});

/** Runs `serve` as a separate process on a free port. It is killed when the scope closes. */
export const serveProcess = Effect.fnUntraced(function* (
  args: ReadonlyArray<string> = [],
  variables: Readonly<Record<string, string>> = {},
) {
  const worker = yield* workerProcess(variables, ["serve", "--port", "0", ...args]);
  const [, port] = yield* worker.wrote(ADDRESS);
  return { ...worker, port: Number(port), url: urlOf(Number(port)) };
});
