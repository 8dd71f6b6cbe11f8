import { Effect, Option, Redacted, Schema } from "effect";
import { Command, Flag } from "effect/cli";

import { isLoopback } from "../../endpoint/http/Loopback.ts";
import { SERVE_CONCURRENCY } from "../../settings/Concurrency.ts";
import * as Setting from "../../settings/Setting.ts";
import { refuse } from "../process/CommandFailure.ts";

const SERVE_KEY = Setting.secret({
  name: "WORKER_SERVE_KEY",
  doc: "API key that clients of `serve` must send.",
});

interface ServeOptions {
  readonly host: string;
  readonly port: Option.Option<number>;
  readonly concurrency: Option.Option<number>;
  readonly keep: Option.Option<string>;
  /** Accept requests from other machines without a key. */
  readonly insecure: boolean;
  /** The archive or folder of a deployed app to serve instead of live requests. */
  readonly app: Option.Option<string>;
  readonly resource: Option.Option<string>;
}

/** The key that clients must send. Trimmed, because HTTP drops white space around it; an empty key counts as none. */
const serveKey = Effect.map(SERVE_KEY.value, (key) =>
  key.pipe(
    Option.map((secret) => Redacted.value(secret).trim()),
    Option.filter((secret) => secret !== ""),
    Option.map((secret) => Redacted.make(secret)),
  ),
);

/** Serves a local endpoint. The server is loaded on demand: a worker that takes jobs from RunPod needs none. */
export const serveEndpoint = Effect.fnUntraced(function* (options: ServeOptions) {
  const key = yield* serveKey;
  const { host, insecure } = options;
  if (!isLoopback(host) && Option.isNone(key) && !insecure) {
    return yield* refuse({
      message: `${JSON.stringify(host)} can be reached from other machines, and anyone who can reach it can run code on this machine. Set WORKER_SERVE_KEY to a secret that clients send as their API key, or listen on 127.0.0.1. To allow access without a key, use \`worker-tetra serve --insecure\`.`,
    });
  }
  const { app, resource } = options;
  if (Option.isSome(app)) {
    const { serveAppLocally } = yield* Effect.promise(() => import("../modes/LocalAppMode.ts"));
    return yield* serveAppLocally({ ...options, key, app: { path: app.value, resource } });
  }
  const { serveLocally } = yield* Effect.promise(() => import("../modes/LocalMode.ts"));
  yield* serveLocally({ ...options, key });
});

const Port = Flag.Int("port").pipe(
  Flag.withSchema(Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 65_535 })))),
);

export const serve = Command.make(
  "serve",
  {
    host: Flag.String("host").pipe(
      Flag.withDescription(
        "Address to listen on; 0.0.0.0 for all interfaces. Addresses other than 127.0.0.1, ::1 and localhost require WORKER_SERVE_KEY",
      ),
      Flag.withDefault("127.0.0.1"),
    ),
    port: Port.pipe(
      Flag.withDescription("Port to listen on (default: 8000, or the next free port)"),
      Flag.optional,
    ),
    concurrency: Flag.Int("concurrency").pipe(
      Flag.withSchema(Schema.Int.pipe(Schema.check(Schema.isGreaterThanOrEqualTo(1)))),
      Flag.withDescription(
        `Number of jobs that run at the same time (default: WORKER_CONCURRENCY, or ${SERVE_CONCURRENCY})`,
      ),
      Flag.optional,
    ),
    keep: Flag.String("keep").pipe(
      Flag.withDescription(
        "Store jobs in this folder so that they survive a restart. Jobs that were running start again",
      ),
      Flag.optional,
    ),
    app: Flag.String("app").pipe(
      Flag.withDescription(
        "Serve a deployed app: artifact.tar.gz or its folder. Functions with a queue get the routes /v2/<resource>/…, APIs a port each",
      ),
      Flag.optional,
    ),
    resource: Flag.String("resource").pipe(
      Flag.withDescription("Serve only this resource of the app"),
      Flag.optional,
    ),
    insecure: Flag.Boolean("insecure").pipe(
      Flag.withDescription(
        "Accept requests from other machines without a key: anyone who can reach this server can run code on this machine",
      ),
      Flag.withDefault(false),
    ),
  },
  serveEndpoint,
).pipe(
  Command.withDescription("Serve a RunPod endpoint on this machine, with a queue and all routes"),
  Command.withExamples([
    {
      command: "worker-tetra serve",
      description: "Listen on 127.0.0.1:8000, for clients on this machine",
    },
    {
      command: "WORKER_SERVE_KEY=… worker-tetra serve --host 0.0.0.0 --port 9000",
      description: "Also accept clients on other machines, with a key",
    },
    {
      command: "worker-tetra serve --app .flash/artifact.tar.gz --resource greet",
      description: "Try a deployed app before it is deployed",
    },
  ]),
);
