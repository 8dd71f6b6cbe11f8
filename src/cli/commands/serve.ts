import { Effect, Option, Redacted, Schema } from "effect";
import { Command, Flag } from "effect/cli";

import { isLoopback } from "../../endpoint/http/Loopback.ts";
import { SERVE_CONCURRENCY } from "../../settings/Concurrency.ts";
import * as Setting from "../../settings/Setting.ts";
import { refuse } from "../process/CommandFailure.ts";

const SERVE_KEY = Setting.secret({
  name: "WORKER_SERVE_KEY",
  doc: "What clients of `serve` must send as their API key.",
});

interface ServeOptions {
  readonly host: string;
  readonly port: Option.Option<number>;
  readonly concurrency: Option.Option<number>;
  readonly keep: Option.Option<string>;
  /** Listen for other machines without a key. */
  readonly insecure: boolean;
}

/** The key that clients must send, trimmed, since HTTP drops white space around it; an empty key counts as none. */
const serveKey = Effect.map(SERVE_KEY.value, (key) =>
  key.pipe(
    Option.map((secret) => Redacted.value(secret).trim()),
    Option.filter((secret) => secret !== ""),
    Option.map((secret) => Redacted.make(secret)),
  ),
);

/** A RunPod endpoint on this machine. A worker that takes jobs from RunPod starts without loading a server. */
export const serveEndpoint = Effect.fnUntraced(function* (options: ServeOptions) {
  const key = yield* serveKey;
  const { host, insecure } = options;
  if (!isLoopback(host) && Option.isNone(key) && !insecure) {
    return yield* refuse({
      message: `${JSON.stringify(host)} can be reached from other machines, and anyone who can reach it can run code here. Set WORKER_SERVE_KEY to a secret that clients send as their API key, or listen on 127.0.0.1. To serve without a key anyway, use \`worker-tetra serve --insecure\`.`,
    });
  }
  const { serveLocally } = yield* Effect.promise(() => import("../modes/LocalMode.ts"));
  yield* serveLocally({ ...options, key });
});

const Port = Flag.Int("port").pipe(
  Flag.withSchema(Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 65_535 })))),
);

/** `serve`: a RunPod endpoint on this machine. */
export const serve = Command.make(
  "serve",
  {
    host: Flag.String("host").pipe(
      Flag.withDescription(
        "The address to listen on; 0.0.0.0 for all interfaces. Addresses other than 127.0.0.1, ::1 and localhost require WORKER_SERVE_KEY",
      ),
      Flag.withDefault("127.0.0.1"),
    ),
    port: Port.pipe(
      Flag.withDescription("The port; unless given, 8000 or the next that is free"),
      Flag.optional,
    ),
    concurrency: Flag.Int("concurrency").pipe(
      Flag.withSchema(Schema.Int.pipe(Schema.check(Schema.isGreaterThanOrEqualTo(1)))),
      Flag.withDescription(
        `How many jobs run at a time; unless given, WORKER_CONCURRENCY or ${SERVE_CONCURRENCY}`,
      ),
      Flag.optional,
    ),
    keep: Flag.String("keep").pipe(
      Flag.withDescription(
        "Keep jobs in this folder, so that a restart loses none; what runs is cut off then and runs again",
      ),
      Flag.optional,
    ),
    insecure: Flag.Boolean("insecure").pipe(
      Flag.withDescription(
        "Serve other machines without a key: anyone who can reach this server can run code here",
      ),
      Flag.withDefault(false),
    ),
  },
  serveEndpoint,
).pipe(
  Command.withDescription("A RunPod endpoint on this machine, with its queue and all its routes"),
  Command.withExamples([
    {
      command: "worker-tetra serve",
      description: "On 127.0.0.1:8000, for clients of this machine",
    },
    {
      command: "WORKER_SERVE_KEY=… worker-tetra serve --host 0.0.0.0 --port 9000",
      description: "For other machines too, with a key",
    },
  ]),
);
