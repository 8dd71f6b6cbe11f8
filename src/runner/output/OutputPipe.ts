import { closeSync, constants, fstatSync, openSync, readSync, unlinkSync } from "node:fs";
import { Socket } from "node:net";

import { Result } from "effect";

/** The maximum number of bytes of one read. */
const MAX_READ_BYTES = 64 * 1024;

/** The size that the runner gives its pipe, which is Linux's limit for ordinary users. */
const PIPE_BYTES = 1024 * 1024;

/**
 * The reading end of a named pipe. A job's processes write to it; bytes come as they are written, and `drain`
 * fetches at once what was written before a certain moment.
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
    // It destroys itself after an error, as at the end: both mean that the last writer is gone.
    this.socket.on("error", () => {});
  }

  /**
   * Opens the pipe and removes its name, so that only processes that have it open can use it. Anything else in its
   * place, such as a link that a job has put there, is not touched.
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
   * Hands over what is in the pipe now, and no more than fits into it: a process may write forever. Once the socket is
   * destroyed, which is before its "close" event, another file or connection may have the descriptor.
   */
  drain(): void {
    let total = 0;
    while (!this.socket.destroyed && total < PIPE_BYTES) {
      const read = Result.try(() => readSync(this.fd, this.buffer, 0, MAX_READ_BYTES, null));
      // EAGAIN: it is empty. 0: the last writer is gone.
      if (Result.isFailure(read) || read.success === 0) return;
      this.receive(this.buffer.subarray(0, read.success));
      total += read.success;
    }
  }

  close(): void {
    this.socket.destroy();
  }
}
