import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { Socket } from "node:net";

import { ByteSize, Effect, Result, Schema } from "effect";
import { type HttpServerRequest, HttpServerResponse } from "effect/http";

import { codeOf } from "../../platform/ErrorCode.ts";
import { AppSocket } from "./AppSocket.ts";
import { type Exchange, exchangeOf } from "./Connection.ts";
import { endToEnd, MAX_HEADERS, type RawHeaders, requestHeaders } from "./ForwardedHeaders.ts";
import { tunnel, type UpgradedConnection } from "./Tunnel.ts";

/** The maximum bytes that are still read of a body after the app has responded. */
const MAX_DISCARDED = ByteSize.mebibytes(64);

/** The app did not respond to a request. */
export class AppUnreachable extends Schema.TaggedError<AppUnreachable>()("AppUnreachable", {
  /** The error code of the system, such as ECONNRESET. */
  code: Schema.String,
}) {
  override get message(): string {
    return `The app closed the connection before it responded (${this.code}).`;
  }
}

/** Forwards requests to the HTTP server of an app. */
export interface AppProxy {
  /**
   * Streams a request to the app and its response to the client, or connects both ends of a WebSocket. Returns when the
   * response is sent or its client has disconnected; interruption closes both connections. Fails if the app does not
   * respond; if it ends in the middle of a response, the connection of the client is closed.
   */
  readonly forward: (
    request: HttpServerRequest.HttpServerRequest,
  ) => Effect.Effect<HttpServerResponse.HttpServerResponse, AppUnreachable>;
}

export interface AppProxyOptions {
  /** The path of the Unix socket on which the app listens. */
  readonly socketPath: string;
  /** Added to each response. */
  readonly responseHeaders: RawHeaders;
}

/** Sends the body of a request to the app, if the client asked for it only when the app wants it. */
const sendBody = ({ request, response }: Exchange, upstream: ClientRequest): void => {
  if (request.headers.expect === undefined) {
    request.pipe(upstream);
    return;
  }
  upstream.once("continue", () => {
    response.writeContinue();
    request.pipe(upstream);
  });
  upstream.flushHeaders();
};

/** Ends a response after its request: most clients read the response only when they have sent everything. */
const endAfterRequest = ({ request, response }: Exchange, upstream: ClientRequest): void => {
  let discarded = 0;
  request.unpipe(upstream);
  request.on("data", ({ length }: Buffer) => {
    discarded += length;
    if (discarded > Number(MAX_DISCARDED)) response.end();
  });
  request.once("end", () => response.end());
  request.resume();
};

/** Streams a response of the app to the client. Throws if Node rejects its head. */
const sendResponse = (
  current: Exchange,
  upstream: ClientRequest,
  answer: IncomingMessage,
  moreHeaders: RawHeaders,
): void => {
  const { request, response, upgrade } = current;
  const headers = [...endToEnd(answer), ...moreHeaders];
  const isIncomplete = upgrade !== undefined || !request.complete;
  // Clients must not send another request on a connection that still receives this one, or another protocol.
  if (isIncomplete) headers.push("Connection", "close");
  response.writeHead(answer.statusCode ?? 502, answer.statusMessage ?? "", headers);
  // Clients of event streams wait for the headers, which may come long before the first event.
  response.flushHeaders();
  answer.pipe(response, { end: false });
  answer.once("error", () => response.destroy());
  answer.once("end", () => {
    const isExpected = upgrade === undefined && request.headers.expect === undefined;
    if (isExpected && !request.complete) endAfterRequest(current, upstream);
    else response.end();
  });
};

/** Takes the connection of an upgrade request away from its response, which is never sent. */
const startTunnel = (
  { response, upgrade }: Exchange,
  app: UpgradedConnection,
  answer: IncomingMessage,
  moreHeaders: RawHeaders,
): void => {
  if (upgrade === undefined || !(upgrade.socket instanceof Socket)) {
    app.socket.destroy();
    return;
  }
  response.detachSocket(upgrade.socket);
  response.end();
  upgrade.socket.setTimeout(0);
  tunnel(upgrade, app, answer, moreHeaders);
};

/** Forwards a request. Node reports a closed connection to the response, or to the socket after an upgrade. */
const exchange = (
  { socketPath, responseHeaders }: AppProxyOptions,
  path: string,
  current: Exchange,
) =>
  Effect.callback<void, AppUnreachable>((resume) => {
    const { response, upgrade } = current;
    const upstream = request({
      // A connection for each request: uvicorn closes one without notice when a handler fails, so that the next request
      // on it would be lost.
      createConnection: () => new AppSocket().connect(socketPath),
      path,
      method: current.request.method,
      headers: requestHeaders(current.request, upgrade !== undefined),
      maxHeaderSize: Number(MAX_HEADERS),
    });
    const close = () => {
      upstream.destroy();
      response.destroy();
      resume(Effect.void);
    };
    upstream.on("error", (error) => {
      if (!response.headersSent) resume(Effect.fail(new AppUnreachable({ code: codeOf(error) })));
    });
    upstream.once("response", (answer) => {
      const sent = Result.try(() => sendResponse(current, upstream, answer, responseHeaders));
      if (Result.isFailure(sent)) upstream.destroy(new Error("invalid response", { cause: sent }));
    });
    if (upgrade !== undefined) {
      upstream.once("upgrade", (answer, socket, head) =>
        startTunnel(current, { socket, head }, answer, responseHeaders),
      );
    }
    response.once("close", close);
    upgrade?.socket.once("close", close);
    sendBody(current, upstream);
    return Effect.sync(() => {
      upstream.destroy();
      // Without headers, the server still responds that it is stopping.
      if (response.headersSent) response.destroy();
      if (response.headersSent) upgrade?.socket.destroy();
    });
  });

/** A proxy for an app, with a connection for each request. */
export const makeAppProxy = (options: AppProxyOptions): AppProxy => ({
  forward: Effect.fnUntraced(function* (incoming) {
    const current = exchangeOf(incoming);
    if (current === undefined) return HttpServerResponse.empty({ status: 501 });
    yield* exchange(options, incoming.url, current);
    // Not sent: the response was already written. Recorded in the trace of the request.
    return HttpServerResponse.empty({ status: current.response.statusCode });
  }),
});
