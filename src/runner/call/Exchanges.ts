import { randomInt } from "node:crypto";

import { Deferred, Exit, Option, Schema } from "effect";

import type { RunnerExit } from "../RunnerProcess.ts";
import { FrameType, hasNoPendingOutput, OutputMeta } from "../RunnerProtocol.ts";
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
  /** Whether others run at the same time. Then its output arrives in frames, and what is in the pipe belongs to none. */
  readonly overlaps?: boolean;
  readonly output: (bytes: Buffer) => void;
  readonly chunk: (frame: Frame) => void;
}

/** A call that was sent to a runner. */
export interface Exchange extends ExchangeListener {
  readonly call: number;
  readonly end: Deferred.Deferred<ExchangeEnd>;
  /** Whether the response has arrived; all later frames are ignored. */
  hasResponse: boolean;
  /** Whether nobody waits for it any more, although its code may still run. */
  isFinished: boolean;
}

const resolve = (exchange: Exchange, end: ExchangeEnd): void => {
  Deferred.doneUnsafe(exchange.end, Exit.succeed(end));
};

const decodeOutput = Schema.decodeUnknownOption(OutputMeta);

/**
 * Assigns frames and output to the calls of one runner, which runs one call at a time, or several that overlap. It has
 * plain fields, since it is used for every frame and every chunk of output.
 */
export class Exchanges {
  private current: Exchange | undefined;
  /** If a job forges the runner's response, the real one arrives during the next call. */
  private previous: Pick<Exchange, "call" | "limits"> | undefined;
  /** Those that overlap, until their response arrives. */
  private readonly overlapping = new Map<number, Exchange>();
  private redirected: ((bytes: Buffer) => void) | undefined;
  private idleOutput = new OutputCapture(IDLE_OUTPUT_BYTES);

  /** The maximum size of the value in such a frame, in bytes; undefined if no such frame is expected. */
  limitOf(type: number, call: number): number | undefined {
    const exchange =
      this.overlapping.get(call) ??
      [this.current, this.previous].find((expected) => expected?.call === call);
    if (type === FrameType.output) return this.overlapping.has(call) ? 0 : undefined;
    if (type === FrameType.chunk) return exchange?.limits.chunk;
    return type === FrameType.result ? exchange?.limits.result : undefined;
  }

  begin(listener: ExchangeListener): Exchange {
    const exchange: Exchange = {
      // Random, so that a job can't forge the response to a later call.
      call: randomInt(CALL_NUMBERS),
      end: Deferred.makeUnsafe(),
      hasResponse: false,
      isFinished: false,
      ...listener,
    };
    if (listener.overlaps === true) this.overlapping.set(exchange.call, exchange);
    else this.current = exchange;
    return exchange;
  }

  /** Handles a frame from the runner; `drain` delivers the output that was written before it. */
  receive(frame: Frame, drain: () => void): void {
    const overlapping = this.overlapping.get(frame.call);
    if (overlapping !== undefined) return this.receiveOverlapping(overlapping, frame);
    const { current } = this;
    if (frame.call !== current?.call || current.hasResponse) return;
    if (frame.type === FrameType.chunk) return current.chunk(frame);
    current.hasResponse = true;
    // The pipe now has all output of the call that was not read yet.
    if (!hasNoPendingOutput(frame.meta)) drain();
    resolve(current, { response: frame });
  }

  private receiveOverlapping(exchange: Exchange, frame: Frame): void {
    if (frame.type === FrameType.result) {
      this.overlapping.delete(exchange.call);
      exchange.hasResponse = true;
      resolve(exchange, { response: frame });
      return;
    }
    // After it has finished: its code did not stop in time when it was cancelled.
    if (exchange.isFinished) return;
    if (frame.type === FrameType.chunk) return exchange.chunk(frame);
    const output = decodeOutput(frame.meta);
    if (Option.isSome(output)) exchange.output(Buffer.from(output.value.text));
  }

  write(bytes: Buffer): void {
    if (this.current !== undefined) this.current.output(bytes);
    else if (this.redirected === undefined) this.idleOutput.write(bytes);
    else this.redirected(bytes);
  }

  /** Sends output that belongs to no call to a function instead of keeping it. */
  redirectIdleOutput(receive: (bytes: Buffer) => void): void {
    this.redirected = receive;
  }

  /** Ends all exchanges, because the process has ended. */
  end(exit: RunnerExit): void {
    for (const exchange of [this.current, ...this.overlapping.values()]) {
      if (exchange !== undefined) resolve(exchange, { exit });
    }
    this.overlapping.clear();
  }

  /** Called when an exchange is over, also after a failure. */
  finish(exchange: Exchange): void {
    exchange.isFinished = true;
    const { current } = this;
    if (exchange !== current) return;
    // A copy without `end`, so that the result can be garbage-collected.
    this.previous = { call: current.call, limits: current.limits };
    this.current = undefined;
  }

  /** Returns and clears the output that was written while no call was running. */
  consumeIdleOutput(): string {
    const text = this.idleOutput.text();
    if (text !== "") this.idleOutput = new OutputCapture(IDLE_OUTPUT_BYTES);
    return text;
  }
}
