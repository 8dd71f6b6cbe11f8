import { closeSync, constants, existsSync, openSync } from "node:fs";

import { Result } from "effect";

import { OutputPipe } from "./OutputPipe.ts";

/** The descriptors of this process as paths, where the system has that. */
const OWN_DESCRIPTORS = "/proc/self/fd";

/**
 * The pipes for the output of one runner, the current one last. The runner makes the next one when processes of a job
 * are left that may still have the current one open.
 */
export class OutputPipes {
  /** A path through an open descriptor: it stays valid if a job moves the folder and puts a link in its place. */
  private readonly folder: string;
  private readonly descriptor: number | undefined;
  private readonly pipes: Array<OutputPipe> = [];

  /** Throws if there is no such folder. */
  constructor(folder: string) {
    this.descriptor = existsSync(OWN_DESCRIPTORS)
      ? openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
      : undefined;
    this.folder = this.descriptor === undefined ? folder : `${OWN_DESCRIPTORS}/${this.descriptor}`;
  }

  get isAttached(): boolean {
    return this.pipes.length > 0;
  }

  /** Opens the next pipe, from which `receive` gets the output from now on; false if it can't be opened. */
  attach(receive: (bytes: Buffer) => void): boolean {
    // The runner counts in the same way; a path that it sends could be any path.
    const path = `${this.folder}/output-${this.pipes.length + 1}`;
    const pipe = OutputPipe.attach(path, (bytes) => {
      // What comes through an earlier pipe was written by processes that an earlier job left.
      if (Result.isSuccess(pipe) && this.pipes.at(-1) === pipe.success) receive(bytes);
    });
    if (Result.isFailure(pipe)) return false;
    this.pipes.push(pipe.success);
    return true;
  }

  /** Hands over all output that was written so far. */
  drain(): void {
    this.pipes.at(-1)?.drain();
  }

  close(): void {
    for (const pipe of this.pipes) pipe.close();
    if (this.descriptor !== undefined) closeSync(this.descriptor);
  }
}
