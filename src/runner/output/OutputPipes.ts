import { closeSync, constants, existsSync, openSync } from "node:fs";

import { Result } from "effect";

import { OutputPipe } from "./OutputPipe.ts";

/** The descriptors of this process as paths, on Linux. */
const OWN_DESCRIPTORS = "/proc/self/fd";

/**
 * The output pipes of one runner, the current one last. The runner creates the next one when leftover processes of a job
 * may still have the current one open.
 */
export class OutputPipes {
  /** A path through an open descriptor, which stays valid if a job replaces the folder by a link. */
  private readonly folder: string;
  private readonly descriptor: number | undefined;
  private readonly pipes: Array<OutputPipe> = [];

  /** Throws if the folder does not exist. */
  constructor(folder: string) {
    this.descriptor = existsSync(OWN_DESCRIPTORS)
      ? openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
      : undefined;
    this.folder = this.descriptor === undefined ? folder : `${OWN_DESCRIPTORS}/${this.descriptor}`;
  }

  get isAttached(): boolean {
    return this.pipes.length > 0;
  }

  /** Opens the next pipe and sends its output to `receive`; false if it can't be opened. */
  attach(receive: (bytes: Buffer) => void): boolean {
    // The runner uses the same numbers. It does not send the path, since any code in its process could send another one.
    const path = `${this.folder}/output-${this.pipes.length + 1}`;
    const pipe = OutputPipe.attach(path, (bytes) => {
      // Ignores earlier pipes: only leftover processes of earlier jobs write to them.
      if (Result.isSuccess(pipe) && this.pipes.at(-1) === pipe.success) receive(bytes);
    });
    if (Result.isFailure(pipe)) return false;
    this.pipes.push(pipe.success);
    return true;
  }

  /** Delivers all output that was written so far. */
  drain(): void {
    this.pipes.at(-1)?.drain();
  }

  close(): void {
    for (const pipe of this.pipes) pipe.close();
    if (this.descriptor !== undefined) closeSync(this.descriptor);
  }
}
