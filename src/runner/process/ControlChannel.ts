import type { Duplex } from "node:stream";

import { Result } from "effect";

import { encode, type Frame, FrameReader } from "./Frames.ts";

/** The size of the new buffer that Node allocates for each read from a socket. */
const MAX_READ_BYTES = 64 * 1024;

/** Receives the frames of a control channel, synchronously and in order; it must not block. */
export interface FrameListener {
  /** The maximum size of the value in such a frame, in bytes; undefined if no such frame is expected. */
  readonly limitOf: (type: number, call: number) => number | undefined;
  readonly frame: (frame: Frame) => void;
}

export interface ControlChannel {
  /** Writes a frame without copying its blobs. Does nothing if the channel is closed. */
  readonly send: (
    type: number,
    call: number,
    meta: object,
    blobs: ReadonlyArray<Uint8Array>,
  ) => void;
  readonly close: () => void;
}

/**
 * Sends and receives frames on a runner's socket. The first invalid frame closes the socket and is reported to
 * `invalid`: any code in the process may have written it, so later frames can't be trusted.
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
    // Frees the buffer at once, since the reader keeps no reference. Otherwise a large result leaves its size as garbage.
    if (bytes.byteLength === MAX_READ_BYTES && bytes.buffer instanceof ArrayBuffer) {
      bytes.buffer.transfer(0);
    }
  });
  // A runner that exits closes the socket; its exit code or signal is reported instead.
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
