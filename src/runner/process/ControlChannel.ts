import type { Duplex } from "node:stream";

import { Result } from "effect";

import { encode, type Frame, FrameReader } from "../RunnerProtocol.ts";

/** The maximum number of bytes that Node reads from a socket at once, into a new buffer. */
const MAX_READ_BYTES = 64 * 1024;

/** Receives what comes through a control channel; called at once and in order, so it must not block. */
export interface FrameListener {
  /** The most bytes that the value of such a frame may have now; undefined if no such frame is expected. */
  readonly limitOf: (type: number, call: number) => number | undefined;
  readonly frame: (frame: Frame) => void;
}

export interface ControlChannel {
  /** Writes a frame; its blobs are not copied. Does nothing once the channel is closed. */
  readonly send: (
    type: number,
    call: number,
    meta: object,
    blobs: ReadonlyArray<Uint8Array>,
  ) => void;
  readonly close: () => void;
}

/**
 * The frames on a runner's socket. It is closed at the first invalid one, since any code in the process may have
 * written that, and later frames can't be trusted; `invalid` then gets the reason.
 */
export const controlChannel = (
  socket: Duplex,
  { limitOf, frame }: FrameListener,
  invalid: (reason: string) => void,
): ControlChannel => {
  const reader = new FrameReader(limitOf);
  socket.on("data", (bytes: Buffer) => {
    for (const read of reader.read(bytes)) {
      if (Result.isSuccess(read)) {
        frame(read.success);
        continue;
      }
      socket.destroy();
      invalid(read.failure.reason);
    }
    // The reader keeps no reference. Without this, garbage would grow to the size of a large result.
    if (bytes.byteLength === MAX_READ_BYTES && bytes.buffer instanceof ArrayBuffer) {
      bytes.buffer.transfer(0);
    }
  });
  // A runner that ends closes the socket, and its exit says why.
  socket.on("error", () => {});
  return {
    send: (type, call, meta, blobs) => {
      if (socket.destroyed) return;
      socket.cork();
      for (const part of encode(type, call, meta, blobs)) socket.write(part);
      socket.uncork();
    },
    close: () => socket.destroy(),
  };
};
