import { spawn } from "node:child_process";
import { Agent, request } from "node:http";
import { fileURLToPath } from "node:url";

import { Effect } from "effect";

import { compare, median, milliseconds, timed } from "./Pairs.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Requests in one timed batch, of all clients together. */
const BATCH = 96;

const BODY = JSON.stringify({
  input: { function_name: "f", function_code: "def f(): return None", args: [] },
});

/** Starts a program that prints its port to stderr, and returns the port. It is killed when the scope closes. */
const listening = (args: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly port: number; readonly end: () => void }>((resume) => {
      const child = spawn(process.execPath, args, {
        cwd: ROOT,
        env: {
          ...process.env,
          RUNPOD_VOLUME_PATH: "/nonexistent",
          WORKER_WORKSPACE_PATH: "/tmp/worker-tetra-bench",
        },
        stdio: ["ignore", "ignore", "pipe"],
      });
      let words = "";
      child.stderr.on("data", (bytes: Buffer) => {
        words += bytes.toString();
        const port = Number(/on http:\/\/[^ ]+:(\d+)/.exec(words)?.[1] ?? 0);
        if (port > 0) resume(Effect.succeed({ port, end: () => child.kill("SIGKILL") }));
      });
    }),
    ({ end }) => Effect.sync(end),
  ).pipe(Effect.map(({ port }) => port));

const post = (port: number, agent: Agent) =>
  Effect.callback<void>((resume) => {
    const sent = request({
      host: "127.0.0.1",
      port,
      path: "/runsync",
      method: "POST",
      agent,
      headers: { "content-type": "application/json", "content-length": BODY.length },
    });
    sent.once("response", (response) => {
      response.resume();
      response.once("end", () => {
        resume(
          response.statusCode === 200
            ? Effect.void
            : Effect.die(new Error(`it answered ${response.statusCode}`)),
        );
      });
    });
    sent.once("error", (error) => resume(Effect.die(error)));
    sent.end(BODY);
  });

const runsync = (clients: number) =>
  Effect.gen(function* () {
    const agent = new Agent({ keepAlive: true, maxSockets: clients });
    const ours = yield* listening(["src/main.ts", "serve", "--port", "0"]);
    const bare = yield* listening(["test/bench/bareServer.ts"]);
    /** The mean time of a request in a batch. */
    const batch = (port: number) =>
      timed(
        Effect.all(
          Array.from({ length: BATCH }, () => post(port, agent)),
          { concurrency: clients, discard: true },
        ),
      ).pipe(Effect.map((total) => total / BATCH));
    yield* Effect.all([batch(ours), batch(bare), batch(ours), batch(bare)]);
    const result = yield* compare(30, batch(ours), batch(bare));
    agent.destroy();
    const limit = 2 * median(result.baseline) + 1;
    return {
      what: `runsync of a trivial function at \`serve\`, ${clients === 1 ? "1 client" : `${clients} clients`} (${result.pairs} pairs of ${BATCH})`,
      ours: milliseconds(result.ours),
      baseline: `a server that responds immediately ${milliseconds(result.baseline)}`,
      bar: `2x + 1 ms = ${limit.toPrecision(3)} ms`,
      met: median(result.ours) <= limit,
    };
  }).pipe(Effect.scoped);

export const runsyncOne = runsync(1);
export const runsyncSixteen = runsync(16);
