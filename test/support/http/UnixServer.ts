import { createServer, type RequestListener, type Server } from "node:http";
import type { Socket } from "node:net";
import { join } from "node:path";

import { Effect } from "effect";

import { temporaryFolder } from "../files/TemporaryFolder.ts";

/** An HTTP server on a Unix socket, as apps have it. It closes with the scope, together with its connections. */
export const unixServer = Effect.fnUntraced(function* (listener: RequestListener) {
  const socketPath = join(yield* temporaryFolder, "app.sock");
  const sockets = new Set<Socket>();
  /** Ends like a process that was killed: all connections close at once. */
  const kill = (server: Server) =>
    Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void));
      for (const socket of sockets) socket.destroy();
    });
  const server = yield* Effect.acquireRelease(
    Effect.callback<Server>((resume) => {
      // The same limit for headers as uvicorn.
      const server = createServer({ maxHeaderSize: 64 * 1024 }, listener);
      server.on("connection", (socket) => {
        sockets.add(socket);
        socket.once("close", () => sockets.delete(socket));
      });
      server.listen(socketPath, () => resume(Effect.succeed(server)));
    }),
    kill,
  );
  return { server, socketPath, kill: kill(server), connections: () => sockets.size };
});
