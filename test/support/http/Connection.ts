import { connect, type Socket } from "node:net";

import { Effect } from "effect";

/** A connection on which the client sends these bytes. It closes with the scope. */
export const openConnection = (port: number, bytes: string) =>
  Effect.acquireRelease(
    Effect.callback<Socket>((resume) => {
      const socket = connect(port, "127.0.0.1", () => {
        socket.write(bytes);
        resume(Effect.succeed(socket));
      });
      // Tests expect that the server closes the connection.
      socket.on("error", () => {});
    }),
    (socket) => Effect.sync(() => socket.destroy()),
  );
