import { type IncomingHttpHeaders, request } from "node:http";
import { connect } from "node:net";

import { Effect } from "effect";

export interface HttpResult {
  readonly status: number;
  readonly type: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The parsed body; undefined if it is not JSON. */
  readonly json: unknown;
}

export interface RequestFields {
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON, or unchanged if it is a string. */
  readonly body?: unknown;
  /** Sends the body without a content-length header. */
  readonly chunked?: boolean;
}

const jsonOf = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** Sends a request to a port on loopback. Interruption closes the connection. */
export const ask = (port: number, path: string, fields: RequestFields = {}) =>
  Effect.callback<HttpResult, Error>((resume) => {
    const { body, method = body === undefined ? "GET" : "POST" } = fields;
    const text = typeof body === "string" ? body : JSON.stringify(body ?? null);
    const sent = request({
      host: "127.0.0.1",
      port,
      path,
      method,
      headers: {
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        // Without one of these headers, Node adds content-length itself.
        ...(fields.chunked === true ? { "transfer-encoding": "chunked" } : {}),
        ...(body === undefined || fields.chunked === true
          ? {}
          : { "content-length": Buffer.byteLength(text) }),
        ...fields.headers,
      },
    });
    sent.once("response", (response) => {
      const parts: Array<Buffer> = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.once("end", () => {
        const received = Buffer.concat(parts).toString();
        resume(
          Effect.succeed({
            status: response.statusCode ?? 0,
            type: response.headers["content-type"],
            headers: response.headers,
            text: received,
            json: jsonOf(received),
          }),
        );
      });
    });
    sent.once("error", (error) => resume(Effect.fail(error)));
    sent.end(body === undefined ? undefined : text);
    return Effect.sync(() => sent.destroy());
  });

/**
 * Sends raw bytes over a new connection, and returns everything until the server closes it. For invalid requests, which
 * node:http does not send.
 */
export const sendRaw = (port: number, bytes: string) =>
  Effect.callback<string, Error>((resume) => {
    const parts: Array<Buffer> = [];
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    socket.on("data", (part: Buffer) => parts.push(part));
    socket.once("error", (error) => resume(Effect.fail(error)));
    socket.once("close", () => resume(Effect.succeed(Buffer.concat(parts).toString())));
    return Effect.sync(() => socket.destroy());
  });
