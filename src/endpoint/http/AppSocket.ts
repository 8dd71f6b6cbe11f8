import { Socket } from "node:net";

import { codeOf } from "../../platform/ErrorCode.ts";

/** The other end is closed. */
const CLOSED: ReadonlySet<string> = new Set(["EPIPE", "ECONNRESET"]);

type Callback = (error?: Error | null) => void;

const unlessClosed =
  (callback: Callback): Callback =>
  (error) =>
    callback(CLOSED.has(codeOf(error)) ? null : error);

/**
 * A connection to an app whose end is only noticed by reading. uvicorn responds and closes the connection when a handler
 * fails; a write at this moment fails, and would discard the response that has arrived.
 */
export class AppSocket extends Socket {
  override _write(chunk: unknown, encoding: BufferEncoding, callback: Callback): void {
    super._write(chunk, encoding, unlessClosed(callback));
  }

  override _writev(
    chunks: Array<{ chunk: unknown; encoding: BufferEncoding }>,
    callback: Callback,
  ): void {
    super._writev?.(chunks, unlessClosed(callback));
  }
}
