import { type IncomingHttpHeaders, request } from "node:http";
import { connect } from "node:net";

import { Effect } from "effect";

export interface Answer {
  readonly status: number;
  readonly type: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body as JSON; undefined where it is none. */
  readonly json: unknown;
}

export interface Asked {
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON, or as it is when it is a text. */
  readonly body?: unknown;
  /** Sends a body without its length. */
  readonly chunked?: boolean;
}

const jsonOf = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** One request to a port of loopback, with any header; interrupting it hangs up. */
export const ask = (port: number, path: string, asked: Asked = {}) =>
  Effect.callback<Answer, Error>((resume) => {
    const { body, method = body === undefined ? "GET" : "POST" } = asked;
    const text = typeof body === "string" ? body : JSON.stringify(body ?? null);
    const sent = request({
      host: "127.0.0.1",
      port,
      path,
      method,
      headers: {
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        // Without either header, Node would find out the length.
        ...(asked.chunked === true ? { "transfer-encoding": "chunked" } : {}),
        ...(body === undefined || asked.chunked === true
          ? {}
          : { "content-length": Buffer.byteLength(text) }),
        ...asked.headers,
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
 * Sends bytes as they are over a separate connection and returns everything that comes back until the server
 * closes it; node:http would correct what these requests are about.
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
