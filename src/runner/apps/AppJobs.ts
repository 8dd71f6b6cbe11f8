import { Effect, Option } from "effect";

import type { EncodedValue } from "../../domain/EncodedValue.ts";
import * as JobEvents from "../../domain/JobEvents.ts";
import { Environment } from "../../settings/Environment.ts";
import type { CallTimedOut, RunnerCrashed, RunnerUnavailable } from "../RunnerError.ts";
import type { AppCallMeta, CallResult } from "../RunnerProtocol.ts";
import { type CallEnd, failureOf, interpretEnd } from "../call/CallEnd.ts";
import { exchange, type FinishedExchange, type TimeLimits } from "../call/CallExchange.ts";
import type { Exchange } from "../call/Exchanges.ts";
import { overlappingExchange } from "../call/OverlappingExchange.ts";
import { openCallOutput } from "../output/CallOutput.ts";
import { withNotes } from "../output/Notes.ts";
import type { AppProcess } from "./AppProcess.ts";

/** A job of an app. */
export interface AppJob {
  /** Its input as JSON; `null` if it has none. */
  readonly input: Uint8Array;
  /** The maximum size of the result, in bytes. */
  readonly limit: number;
  /** The maximum size of each item of a generator, in bytes; absent if items are not streamed. */
  readonly chunkLimit?: number;
  /** Receives each item of a generator when it is yielded; undefined for an item that exceeds its limit. */
  readonly chunk?: (value: EncodedValue | undefined) => void;
}

/** A job that ended in Python. */
export interface AppJobOutcome {
  readonly result: CallResult;
  /** Undefined after an error, or if the app returned only a failure. */
  readonly value: EncodedValue | undefined;
  /** All output with the worker's notes; credentials are masked. */
  readonly output: string;
}

/** What all jobs use. */
export interface JobContext {
  readonly limits: TimeLimits;
  readonly outputLimit: number;
}

const metaOf = ({ overlaps }: AppProcess, { limit, chunkLimit }: AppJob): AppCallMeta => ({
  kind: "job",
  format: "json",
  limit,
  overlaps,
  ...(chunkLimit === undefined ? {} : { chunkLimit }),
});

/** Runs the exchange of a job; none if its code may still run. */
const exchangeOf = (process: AppProcess, begin: () => Exchange, limits: TimeLimits) => {
  const { session, overlaps } = process;
  if (!overlaps) return Effect.asSome(exchange(session, begin, limits));
  const abandon = Effect.sync(() => {
    process.isUnfit = true;
  });
  return overlappingExchange(session, begin, limits, abandon);
};

/** How a job ended. A process that is replaced after a cancelled job counts as killed. */
const endOf = (meta: AppCallMeta, finished: Option.Option<FinishedExchange>): CallEnd =>
  Option.match(finished, {
    onNone: (): CallEnd => ({
      _tag: "ProcessEnded",
      exit: { code: undefined, signal: "SIGKILL" },
      hasTimedOut: true,
    }),
    onSome: (exchanged) => interpretEnd(meta, exchanged),
  });

/** Runs a job in a process that is open. The process may be unfit afterwards. */
export const runJob = Effect.fnUntraced(function* (
  process: AppProcess,
  job: AppJob,
  { limits, outputLimit }: JobContext,
): Effect.fn.Return<AppJobOutcome, RunnerCrashed | CallTimedOut | RunnerUnavailable, Environment> {
  const { mask, maskStream } = yield* Environment;
  const output = yield* openCallOutput(maskStream, outputLimit);
  const meta = metaOf(process, job);
  const begin = () =>
    process.session.begin({ ...meta, refresh: false }, [job.input], {
      overlaps: process.overlaps,
      output: output.write,
      limits: { result: meta.limit, chunk: meta.chunkLimit },
      chunk: ({ value }) => job.chunk?.(value),
    });
  const finished = yield* Effect.ensuring(
    exchangeOf(process, begin, limits),
    Effect.sync(output.end),
  );
  const end = endOf(meta, finished);
  const text = output.text();
  if (end._tag !== "Completed") {
    if (end._tag === "InvalidResponse") process.isUnfit = true;
    return yield* failureOf(end, { output: text, timeout: limits.timeout, instances: 0 });
  }
  const { result, value } = end;
  const notes = [...result.notes];
  if (result.poisoned !== null) {
    (yield* JobEvents.JobListener).notify({ _tag: "GpuLost" });
    process.isUnfit = true;
    notes.push(`The Python process will be replaced: ${result.poisoned}`);
  }
  return { result, value, output: withNotes(text, notes, mask) };
});
