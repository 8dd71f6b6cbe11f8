import { join } from "node:path";

import { Cause, Deferred, Effect, Exit, Fiber, FileSystem, Predicate } from "effect";

import type { RunningApp } from "./Availability.ts";
import { makeAppProxy } from "./http/AppProxy.ts";
import type { RawHeaders } from "./http/ForwardedHeaders.ts";

/** Where an app listens. */
export interface Listening {
  /** The path of the Unix socket. */
  readonly socket: string;
  /** To run as soon as the app accepts connections. */
  readonly ready: Effect.Effect<void>;
}

/** For example by code that empties the folder for temporary files. */
const SOCKET_REMOVED = "Its socket was removed.";

const reasonOf = (exit: Exit.Exit<never, unknown>): string => {
  if (Exit.isSuccess(exit)) return "It stopped.";
  const error = Cause.squash(exit.cause);
  return Predicate.hasProperty(error, "message") ? String(error.message) : String(error);
};

/**
 * Serves an app until the scope closes, and returns when it accepts connections. Fails with the error of `serve` if its
 * process ends before. An app whose socket was removed has ended, too: nobody can reach it.
 */
export const launchApp = Effect.fnUntraced(function* <E, R>(
  serve: (listening: Listening) => Effect.Effect<never, E, R>,
  responseHeaders: RawHeaders,
) {
  const files = yield* FileSystem.FileSystem;
  // Nobody else can connect: only this user can enter the folder.
  const folder = yield* Effect.orDie(files.makeTempDirectoryScoped({ prefix: "worker-tetra-" }));
  const socket = join(folder, "app.sock");
  const proxy = makeAppProxy({ socketPath: socket, responseHeaders });
  const isReady = yield* Deferred.make<void>();
  const serving = yield* Effect.forkScoped(
    serve({ socket, ready: Effect.asVoid(Deferred.succeed(isReady, undefined)) }),
  );
  yield* Effect.raceFirst(Deferred.await(isReady), Fiber.join(serving));
  const isLost = yield* Deferred.make<string>();
  const app: RunningApp = {
    proxy: {
      forward: (request) =>
        Effect.tapError(proxy.forward(request), ({ code }) =>
          code === "ENOENT" ? Deferred.succeed(isLost, SOCKET_REMOVED) : Effect.void,
        ),
    },
    ended: Effect.raceFirst(Effect.map(Fiber.await(serving), reasonOf), Deferred.await(isLost)),
  };
  return app;
});
