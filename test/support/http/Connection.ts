import { connect, type Socket } from "node:net";

import { Effect } from "effect";

/** A connection on which a client sends only these bytes; it closes with the scope. */
export const openConnection = (port: number, bytes: string) =>
  Effect.acquireRelease(
    Effect.callback<Socket>((resume) => {
      const socket = connect(port, "127.0.0.1", () => {
        socket.write(bytes);
        resume(Effect.succeed(socket));
      });
      // A server that closes the connection is expected in these tests.
      socket.on("error", () => {});
    }),
    (socket) => Effect.sync(() => socket.destroy()),
  );
