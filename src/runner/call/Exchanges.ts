import { randomInt } from "node:crypto";

import { Deferred, Exit } from "effect";

import type { RunnerExit } from "../RunnerProcess.ts";
import { type Frame, FrameType, hasNoPendingOutput } from "../RunnerProtocol.ts";
import { OutputCapture } from "../output/OutputCapture.ts";

/** How much is kept of what leftover threads write between calls. */
const IDLE_OUTPUT_BYTES = 64 * 1024;

/** Numbers of calls are below this: they have 32 bits in a frame. */
const CALL_NUMBERS = 2 ** 32;

/** How an exchange ended: with an answer, or with the process. */
export type ExchangeEnd =
  | { readonly response: Frame; readonly exit?: never }
  | { readonly exit: RunnerExit; readonly response?: never };

/** How large the values of an exchange's frames may be, in bytes; no chunks where there is no limit for them. */
interface ValueLimits {
  readonly result: number;
  readonly chunk?: number | undefined;
}

/** Receives what comes during an exchange; called at once and in order, so it must not block. */
export interface ExchangeListener {
  readonly limits: ValueLimits;
  readonly output: (bytes: Buffer) => void;
  readonly chunk: (frame: Frame) => void;
}

/** One call that was sent to a runner. */
export interface Exchange extends ExchangeListener {
  readonly call: number;
  readonly end: Deferred.Deferred<ExchangeEnd>;
  /** Whether its answer has come; anything that arrives later is ignored. */
  hasResponse: boolean;
}

/**
 * The calls that were sent to one runner, one at a time, and what belongs to which. Plain fields, since it is asked for
 * every frame and every piece of output.
 */
export class Exchanges {
  private current: Exchange | undefined;
  /** If a job forges the runner's answer, the real one arrives during the next call. */
  private previous: Pick<Exchange, "call" | "limits"> | undefined;
  private idleOutput = new OutputCapture(IDLE_OUTPUT_BYTES);

  /** The most bytes that the value of such a frame may have now; undefined if no such frame is expected. */
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
      // Random, so that a job can't forge the answer to a later call in advance.
      call: randomInt(CALL_NUMBERS),
      end: Deferred.makeUnsafe(),
      hasResponse: false,
      ...listener,
    };
    this.current = exchange;
    return exchange;
  }

  /** Passes on a frame of a call; `drain` delivers the output that was written before. */
  receive(frame: Frame, drain: () => void): void {
    const { current } = this;
    if (frame.call !== current?.call || current.hasResponse) return;
    if (frame.type === FrameType.chunk) return current.chunk(frame);
    current.hasResponse = true;
    // All that the call wrote is in the pipe now, if it was not read before.
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

  /** The current exchange is over, whatever came of it. */
  finish(): void {
    const { current } = this;
    // Without its end, which has the result.
    this.previous =
      current === undefined ? undefined : { call: current.call, limits: current.limits };
    this.current = undefined;
  }

  /** What was written while no call was running, and forgets it. */
  consumeIdleOutput(): string {
    const text = this.idleOutput.text();
    if (text !== "") this.idleOutput = new OutputCapture(IDLE_OUTPUT_BYTES);
    return text;
  }
}
