import { Effect } from "effect";

import { eventually } from "./WorkerAtWork.ts";
import { workerProcess } from "./WorkerProcess.ts";

/** `serve` as a program of its own on a free port, killed when the scope closes. */
export const serveProcess = Effect.fnUntraced(function* (
  args: ReadonlyArray<string> = [],
  variables: Readonly<Record<string, string>> = {},
) {
  const process = yield* workerProcess(variables, ["serve", "--port", "0", ...args]);
  const port = () => Number(/on http:\/\/[^ ]+:(\d+)/.exec(process.stderr())?.[1] ?? 0);
  yield* eventually(() => port() > 0);
  return { ...process, port: port(), url: `http://127.0.0.1:${port()}` };
});
