import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";

import { assert, it } from "@effect/vitest";
import { Effect } from "effect";

import { AppSocket } from "../../../src/endpoint/http/AppSocket.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";

it.live(
  "reads what the app has sent, also if the app has closed the connection before a write",
  () =>
    Effect.gen(function* () {
      const path = join(yield* temporaryFolder, "app.sock");
      const server = yield* Effect.acquireRelease(
        Effect.sync(() => createServer().listen(path)),
        (running) => Effect.sync(() => running.close()),
      );
      const closed = new Promise<void>((resolve) => {
        server.once("connection", (connection) => {
          connection.once("close", () => resolve());
          connection.write("the response", () => connection.destroy());
        });
      });
      const socket = new AppSocket().connect(path);
      yield* Effect.promise(() => once(socket, "connect"));
      yield* Effect.promise(() => closed);
      socket.cork();
      socket.write("the");
      socket.write("request");
      socket.uncork();
      socket.write("its end");
      assert.strictEqual(yield* Effect.promise(() => text(socket)), "the response");
    }).pipe(Effect.scoped),
);
