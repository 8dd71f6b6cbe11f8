import { closeSync, constants, fstatSync, openSync, readSync, unlinkSync } from "node:fs";
import { Socket } from "node:net";

import { Result } from "effect";

const MAX_READ_BYTES = 64 * 1024;

/** The capacity of the pipe that the runner sets: Linux's limit for unprivileged users. */
const PIPE_BYTES = 1024 * 1024;

/**
 * The reading end of a named pipe to which a job's processes write. Bytes arrive asynchronously; `drain` reads what was
 * written so far synchronously.
 */
export class OutputPipe {
  private readonly fd: number;
  private readonly socket: Socket;
  private readonly buffer = Buffer.allocUnsafe(MAX_READ_BYTES);
  private readonly receive: (bytes: Buffer) => void;

  private constructor(fd: number, receive: (bytes: Buffer) => void) {
    this.fd = fd;
    this.receive = receive;
    this.socket = new Socket({
      fd,
      readable: true,
      writable: false,
      onread: {
        buffer: Buffer.allocUnsafe(MAX_READ_BYTES),
        callback: (size, buffer) => {
          receive(Buffer.from(buffer.buffer, buffer.byteOffset, size));
          return true;
        },
      },
    });
    // The socket destroys itself after an error and at the end; both mean that there is no writer any more.
    this.socket.on("error", () => {});
  }

  /**
   * Opens the pipe and removes its name, so that only processes that have it open can use it. Anything else at this
   * path, such as a link that a job created, is left unchanged.
   */
  static attach(
    path: string,
    receive: (bytes: Buffer) => void,
  ): Result.Result<OutputPipe, unknown> {
    return Result.try(() => {
      const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
      if (!fstatSync(fd).isFIFO()) {
        closeSync(fd);
        throw new Error(`${path} is not a pipe`);
      }
      unlinkSync(path);
      return new OutputPipe(fd, receive);
    });
  }

  /**
   * Reads at most the capacity of the pipe, since a process may write forever. After the socket was destroyed, which is
   * before its "close" event, another file or connection may have the same descriptor.
   */
  drain(): void {
    let total = 0;
    while (!this.socket.destroyed && total < PIPE_BYTES) {
      const read = Result.try(() => readSync(this.fd, this.buffer, 0, MAX_READ_BYTES, null));
      // EAGAIN: the pipe is empty. 0: there is no writer any more.
      if (Result.isFailure(read) || read.success === 0) return;
      this.receive(this.buffer.subarray(0, read.success));
      total += read.success;
    }
  }

  close(): void {
    this.socket.destroy();
  }
}
