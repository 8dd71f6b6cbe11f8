import { randomInt } from "node:crypto";

import { Deferred, Exit } from "effect";

import type { RunnerExit } from "../RunnerProcess.ts";
import { FrameType, hasNoPendingOutput } from "../RunnerProtocol.ts";
import { OutputCapture } from "../output/OutputCapture.ts";
import { type Frame } from "../process/Frames.ts";

/** The limit for the output of leftover threads between calls. */
const IDLE_OUTPUT_BYTES = 64 * 1024;

/** The number of a call has 32 bits in a frame. */
const CALL_NUMBERS = 2 ** 32;

/** How an exchange ended: with a response, or with the exit of the process. */
export type ExchangeEnd =
  | { readonly response: Frame; readonly exit?: never }
  | { readonly exit: RunnerExit; readonly response?: never };

/** The maximum sizes of values in bytes. Without a limit for chunks, chunks are invalid. */
interface ValueLimits {
  readonly result: number;
  readonly chunk?: number | undefined;
}

/** Receives the output and chunks of an exchange, synchronously and in order; it must not block. */
export interface ExchangeListener {
  readonly limits: ValueLimits;
  readonly output: (bytes: Buffer) => void;
  readonly chunk: (frame: Frame) => void;
}

/** A call that was sent to a runner. */
export interface Exchange extends ExchangeListener {
  readonly call: number;
  readonly end: Deferred.Deferred<ExchangeEnd>;
  /** Whether the response has arrived; all later frames are ignored. */
  hasResponse: boolean;
}

/**
 * Assigns frames and output to the calls of one runner, which runs one call at a time. It has plain fields, since it is
 * used for every frame and every chunk of output.
 */
export class Exchanges {
  private current: Exchange | undefined;
  /** If a job forges the runner's response, the real one arrives during the next call. */
  private previous: Pick<Exchange, "call" | "limits"> | undefined;
  private idleOutput = new OutputCapture(IDLE_OUTPUT_BYTES);

  /** The maximum size of the value in such a frame, in bytes; undefined if no such frame is expected. */
  limitOf(type: number, call: number): number | undefined {
    const exchange =
      this.current?.call === call
        ? this.current
        : this.previous?.call === call
          ? this.previous
          : undefined;
    if (type === FrameType.chunk) return exchange?.limits.chunk;
    return type === FrameType.result ? exchange?.limits.result : undefined;
  }

  begin(listener: ExchangeListener): Exchange {
    const exchange: Exchange = {
      // Random, so that a job can't forge the response to a later call.
      call: randomInt(CALL_NUMBERS),
      end: Deferred.makeUnsafe(),
      hasResponse: false,
      ...listener,
    };
    this.current = exchange;
    return exchange;
  }

  /** Handles a frame from the runner; `drain` delivers the output that was written before it. */
  receive(frame: Frame, drain: () => void): void {
    const { current } = this;
    if (frame.call !== current?.call || current.hasResponse) return;
    if (frame.type === FrameType.chunk) return current.chunk(frame);
    current.hasResponse = true;
    // The pipe now has all output of the call that was not read yet.
    if (!hasNoPendingOutput(frame.meta)) drain();
    this.end({ response: frame });
  }

  write(bytes: Buffer): void {
    if (this.current === undefined) this.idleOutput.write(bytes);
    else this.current.output(bytes);
  }

  /** Ends the current exchange, if there is one. */
  end(end: ExchangeEnd): void {
    if (this.current !== undefined) Deferred.doneUnsafe(this.current.end, Exit.succeed(end));
  }

  /** Called when the current exchange is over, also after a failure. */
  finish(): void {
    const { current } = this;
    // A copy without `end`, so that the result can be garbage-collected.
    this.previous =
      current === undefined ? undefined : { call: current.call, limits: current.limits };
    this.current = undefined;
  }

  /** Returns and clears the output that was written while no call was running. */
  consumeIdleOutput(): string {
    const text = this.idleOutput.text();
    if (text !== "") this.idleOutput = new OutputCapture(IDLE_OUTPUT_BYTES);
    return text;
  }
}
