import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";

import { NodeHttpServer } from "@effect/platform-node";
import { Duration, Effect, Layer, Option, Schema } from "effect";
import { HttpRouter, HttpServer } from "effect/http";

import { codeOf } from "../../platform/ErrorCode.ts";
import { keepUpgrades } from "./Connection.ts";
import { MAX_HEADERS } from "./ForwardedHeaders.ts";
import { type Access, type Fallback, routeGuard, unknownRouteGuard } from "./HttpGuard.ts";

/** The default port, the same as of RunPod's own local server. */
const PORT = 8000;

/** The number of ports after it that are tried if it is in use. */
const MORE_PORTS = 20;

/**
 * How long an idle connection of RunPod's gateway stays open, the same as upstream's. Node's 5 seconds are shorter than
 * the time for which most gateways reuse connections, so that a request can arrive just when its connection is closed.
 */
const GATEWAY_KEEP_ALIVE = Duration.minutes(10);

/** The timeout for receiving a request. RunPod allows 5.5 minutes, in which the app may still be starting. */
const GATEWAY_REQUEST_TIMEOUT = Duration.minutes(6);

/** How long the server waits on close until pending responses are sent. */
const FLUSH_TIMEOUT = "5 seconds";

/** The server can't listen on an address. */
class ListenFailed extends Schema.TaggedError<ListenFailed>()("ListenFailed", {
  host: Schema.String,
  port: Schema.Int,
  /** The error code of the system, such as EADDRINUSE. */
  code: Schema.String,
}) {
  override get message(): string {
    const address = `${this.host}:${this.port}`;
    switch (this.code) {
      case "EADDRINUSE":
        return `${address} is already in use. Stop the other program, or choose another port.`;
      case "EACCES":
        return `No permission to listen on ${address}. Choose a port above 1023.`;
      case "EADDRNOTAVAIL":
      case "ENOTFOUND":
        return `${this.host} is not an address of this machine. Choose 127.0.0.1, or 0.0.0.0 for all addresses.`;
      default:
        return `Could not listen on ${address} (${this.code}).`;
    }
  }
}

export interface EndpointServerOptions extends Access {
  /** The default is 8000, or the next port that is free. */
  readonly port: Option.Option<number>;
  /** Changes the URL of each request before its route is chosen. */
  readonly rewrite?: (request: IncomingMessage) => void;
}

/** A server whose shutdown waits for pending responses, but not for idle connections. */
const createGracefulServer = ({ isBehindGateway, rewrite }: EndpointServerOptions) => {
  /** All connections with their pending responses. */
  const connections = new Map<Socket, Set<ServerResponse>>();
  /** Closes all connections without a pending response. Node does not count those that never sent a request as idle. */
  const closeIdle = () => {
    for (const [connection, responses] of connections)
      if (responses.size === 0) connection.destroy();
  };
  const server = createServer({ maxHeaderSize: Number(MAX_HEADERS) }, (request, response) => {
    rewrite?.(request);
    const responses = connections.get(request.socket);
    responses?.add(response);
    response.once("close", () => {
      responses?.delete(response);
      if (!server.listening) setImmediate(closeIdle);
    });
    // Without routes a request would never get a response.
    if (server.listenerCount("request") > 1) return;
    response.writeHead(503, { "retry-after": "1", "content-type": "application/json" });
    response.end(
      JSON.stringify({ error: "The worker is starting or stopping. Try again in a second." }),
    );
  });
  if (isBehindGateway) {
    server.keepAliveTimeout = Duration.toMillis(GATEWAY_KEEP_ALIVE);
    server.requestTimeout = Duration.toMillis(GATEWAY_REQUEST_TIMEOUT);
  }
  keepUpgrades(server);
  server.on("connection", (connection) => {
    connections.set(connection, new Set());
    connection.once("close", () => connections.delete(connection));
  });
  return {
    server,
    /** Accepts no more connections, and ends those without a request in progress. */
    close: Effect.sync(() => {
      server.close();
      closeIdle();
    }),
    /** Waits until all responses are sent, at most FLUSH_TIMEOUT. */
    flush: Effect.callback<void>((resume) => {
      if (connections.size === 0) return resume(Effect.void);
      server.once("close", () => resume(Effect.void));
    }).pipe(
      Effect.timeoutOption(FLUSH_TIMEOUT),
      Effect.andThen(Effect.sync(() => server.closeAllConnections())),
    ),
  };
};

const bind = Effect.fnUntraced(function* (options: EndpointServerOptions, port: number) {
  const { host } = options;
  const graceful = createGracefulServer(options);
  const server = yield* NodeHttpServer.make(() => graceful.server, {
    host,
    port,
    disablePreemptiveShutdown: true,
  }).pipe(
    Effect.mapError(
      (error) => new ListenFailed({ host, port, code: codeOf(error, String(error.cause)) }),
    ),
  );
  yield* Effect.addFinalizer(() => Effect.andThen(graceful.close, graceful.flush));
  const { address } = server;
  return {
    server,
    port: address._tag === "UnixPathAddress" ? port : address.port,
    close: graceful.close,
  };
});

/** Listens until the scope closes. A given port must be free; without one, uses the first free port. */
const bindAny = (options: EndpointServerOptions) => {
  if (Option.isSome(options.port)) return bind(options, options.port.value);
  const attempt = (port: number): ReturnType<typeof bind> =>
    Effect.catchIf(
      bind(options, port),
      ({ code }) => code === "EADDRINUSE" && port < PORT + MORE_PORTS,
      () => attempt(port + 1),
    );
  return attempt(PORT);
};

/** Starts a server without routes: they may depend on the port. */
export const endpointServer = Effect.fn("EndpointServer")(function* (
  options: EndpointServerOptions,
) {
  const { server, port, close } = yield* bindAny(options);
  return {
    port,
    /**
     * Serves these routes until the scope closes, which aborts requests in progress. Other requests are passed to the
     * fallback.
     */
    serve: <R, E>(routes: Layer.Layer<never, E, R>, fallback?: Fallback) =>
      HttpRouter.serve(
        Layer.merge(
          routes.pipe(Layer.provide(routeGuard(options))),
          unknownRouteGuard(options, fallback),
        ),
        { disableListenLog: true, disableLogger: true },
      ).pipe(
        Layer.provide([
          Layer.succeed(HttpServer.HttpServer, server),
          NodeHttpServer.layerHttpServices,
        ]),
        Layer.build,
        Effect.tap(() => Effect.addFinalizer(() => close)),
      ),
  };
});
