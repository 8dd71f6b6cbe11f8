import { createServer } from "node:http";

import { NodeHttpServer } from "@effect/platform-node";
import { Duration, Effect, Layer, Option, Schema } from "effect";
import { HttpRouter, HttpServer, type HttpServerError } from "effect/http";

import { type Access, httpGuard } from "./HttpGuard.ts";

/** Where to listen when nobody says, as RunPod's own local server does. */
const PORT = 8000;

/** How many ports after it are tried when it is taken. */
const MORE_PORTS = 20;

/** There is no listening there. */
class ListenFailed extends Schema.TaggedError<ListenFailed>()("ListenFailed", {
  host: Schema.String,
  port: Schema.Int,
  /** The system's code, such as EADDRINUSE. */
  code: Schema.String,
}) {
  override get message(): string {
    const place = `${this.host}:${this.port}`;
    switch (this.code) {
      case "EADDRINUSE":
        return `${place} is taken by another program. End that one, or choose another port.`;
      case "EACCES":
        return `${place} needs rights that this user does not have. Choose a port above 1023.`;
      case "EADDRNOTAVAIL":
      case "ENOTFOUND":
        return `${this.host} is no address of this machine. Choose 127.0.0.1, or 0.0.0.0 for all of its addresses.`;
      default:
        return `There is no listening on ${place} (${this.code}).`;
    }
  }
}

/** What a server needs to know. */
export interface EndpointServerOptions extends Access {
  readonly host: string;
  /** Without one it is 8000, or the next that is free. */
  readonly port: Option.Option<number>;
  /** How long requests at work may go on when the server is closed, in seconds; without one to their end. */
  readonly grace: Option.Option<number>;
}

const codeOf = ({ cause }: HttpServerError.ServeError): string =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string"
    ? cause.code
    : String(cause);

/** A server whose requests are answered from its first moment to its last, with no wait after that. */
const createAttentiveServer = () => {
  const server = createServer((_, response) => {
    // A connection that is kept alive would keep a server open that has nothing more to do.
    response.once("finish", () => {
      if (!server.listening) setImmediate(() => server.closeIdleConnections());
    });
    // Without routes a request would wait for ever.
    if (server.listenerCount("request") > 1) return;
    response.writeHead(503, { "retry-after": "1", "content-type": "application/json" });
    response.end(JSON.stringify({ error: "The worker is starting. Try again in a second." }));
  });
  return server;
};

const bind = Effect.fnUntraced(function* ({ host, grace }: EndpointServerOptions, port: number) {
  const server = yield* NodeHttpServer.make(createAttentiveServer, {
    host,
    port,
    gracefulShutdownTimeout: Duration.seconds(Option.getOrElse(grace, () => Infinity)),
  }).pipe(Effect.mapError((error) => new ListenFailed({ host, port, code: codeOf(error) })));
  const { address } = server;
  return { server, port: address._tag === "UnixPathAddress" ? port : address.port };
});

/** Listens, until the scope closes; gives the port. A named port must be free; else the next free one is taken. */
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

/** A server without its routes: what they need may have to know where it listens. */
export const endpointServer = Effect.fn("EndpointServer")(function* (
  options: EndpointServerOptions,
) {
  const { server, port } = yield* bindAny(options);
  return {
    port,
    /** Answers requests with these routes until the scope closes; then requests at work are finished first. */
    serve: <R, E>(routes: Layer.Layer<never, E, R>) =>
      HttpRouter.serve(Layer.merge(routes, httpGuard(options)), {
        disableListenLog: true,
        disableLogger: true,
      }).pipe(
        Layer.provide([
          Layer.succeed(HttpServer.HttpServer, server),
          NodeHttpServer.layerHttpServices,
        ]),
        Layer.build,
      ),
  };
});
