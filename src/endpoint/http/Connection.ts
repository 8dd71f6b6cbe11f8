import { IncomingMessage, type Server, ServerResponse } from "node:http";

import { NodeHttpServerRequest } from "@effect/platform-node";
import { Context, Duration, Effect } from "effect";
import type { HttpServerRequest, HttpServerResponse } from "effect/http";

import { memoryShare } from "./RequestBody.ts";
import type { UpgradedConnection } from "./Tunnel.ts";

/** How long a client may stop reading its response. */
const MAX_STALL = Duration.minutes(1);

const responseOf = (request: HttpServerRequest.HttpServerRequest): ServerResponse | undefined => {
  const response = NodeHttpServerRequest.toServerResponse(request);
  return response instanceof ServerResponse ? response : undefined;
};

/** Connections whose client asked for another protocol, such as WebSocket. */
const upgrades = new WeakMap<IncomingMessage, UpgradedConnection>();

/** Remembers the connections of upgrade requests for `exchangeOf`. */
export const keepUpgrades = (server: Server): void => {
  server.on("upgrade", (request, socket, head) => void upgrades.set(request, { socket, head }));
};

/** A request and its response as Node has them. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Present if the client asks for another protocol. */
  readonly upgrade: UpgradedConnection | undefined;
}

/** Undefined for requests of other servers than Node's. */
export const exchangeOf = (request: HttpServerRequest.HttpServerRequest): Exchange | undefined => {
  const incoming = NodeHttpServerRequest.toIncomingMessage(request);
  const response = responseOf(request);
  return incoming instanceof IncomingMessage && response !== undefined
    ? { request: incoming, response, upgrade: upgrades.get(incoming) }
    : undefined;
};

/** Whether a request has several Host headers: servers and proxies disagree about which one counts. */
export const hasSeveralHosts = (request: HttpServerRequest.HttpServerRequest): boolean => {
  const incoming = NodeHttpServerRequest.toIncomingMessage(request);
  return incoming instanceof IncomingMessage && (incoming.headersDistinct["host"]?.length ?? 0) > 1;
};

/**
 * Whether a new request was sent before the response to an earlier request of its connection: its response then has no
 * socket yet. With pipelining, Node does not report a client that disconnects.
 */
export const isPipelined = (request: HttpServerRequest.HttpServerRequest): boolean =>
  responseOf(request)?.socket === null;

/** Responses that clients have not read yet. */
export interface UnreadResponses {
  /**
   * Counts a response until it is sent or its connection closes. Above the limit, closes the connections of the oldest
   * responses; returns their number.
   */
  readonly add: (response: ServerResponse, bytes: number) => number;
}

/** @param limit bytes of all bodies @param stall how long a client may stop reading */
export const makeUnreadResponses = (limit: number, stall: Duration.Duration): UnreadResponses => {
  const sizes = new Map<ServerResponse, number>();
  let total = 0;
  const remove = (response: ServerResponse) => {
    total -= sizes.get(response) ?? 0;
    sizes.delete(response);
  };
  return {
    add: (response, bytes) => {
      sizes.set(response, bytes);
      total += bytes;
      response.once("close", () => remove(response));
      // Node closes a connection that is idle for this time, and sets another timeout when the response is sent.
      response.req.socket.setTimeout(Duration.toMillis(stall));
      let closed = 0;
      for (const oldest of sizes.keys()) {
        if (total <= limit || oldest === response) break;
        remove(oldest);
        oldest.req.socket.destroy();
        closed += 1;
      }
      return closed;
    },
  };
};

/** The unread responses of this process, shared by all its ports. */
export const UnreadResponses = Context.Reference<UnreadResponses>(
  "worker-tetra/endpoint/UnreadResponses",
  { defaultValue: () => makeUnreadResponses(memoryShare(), MAX_STALL) },
);

/** Limits the memory of responses whose clients do not read them. */
export const boundUnread = Effect.fnUntraced(function* (
  request: HttpServerRequest.HttpServerRequest,
  { body }: HttpServerResponse.HttpServerResponse,
) {
  const response = responseOf(request);
  if (response === undefined || response.destroyed) return;
  const closed = (yield* UnreadResponses).add(
    response,
    body._tag === "Uint8Array" ? body.contentLength : 0,
  );
  if (closed === 0) return;
  yield* Effect.logWarning(
    `Closed ${closed} connections of clients that do not read their responses: the limit for unread bytes is exceeded`,
  );
});
