import { Effect, Semaphore } from "effect";

import * as JobEvents from "../domain/JobEvents.ts";
import { Environment } from "../settings/Environment.ts";
import * as Setting from "../settings/Setting.ts";
import type { Call, CallFailed, CallOutcome } from "./call/Call.ts";
import { type CallEnd, interpretEnd } from "./call/CallEnd.ts";
import {
  failCall,
  recordCompletion,
  replaceIfUnfit,
  type RunnerContext,
  sendCall,
} from "./call/CallSteps.ts";
import { openCallOutput } from "./output/CallOutput.ts";
import { withNotes } from "./output/Notes.ts";
import { makeReadiness } from "./state/Readiness.ts";
import type { LiveProcess } from "./state/RunnerState.ts";

export const OUTPUT_LIMIT = Setting.integer({
  name: "WORKER_OUTPUT_LIMIT",
  doc: "Maximum size of a job's output in its response. Of longer output, the beginning (a quarter of this size) and the end are kept.",
  unit: "bytes",
  minimum: 4096,
  fallback: 1024 * 1024,
});

/** Runs calls in a persistent Python process. */
export interface Runner {
  readonly call: (call: Call) => Effect.Effect<CallOutcome, CallFailed>;
  /** Starts the process ahead of the first call. */
  readonly start: Effect.Effect<void, CallFailed>;
  /** Starts it, and runs what must run before the first call. */
  readonly warm: Effect.Effect<void, CallFailed>;
  /** Whether its process has the instance, or an earlier one had it. */
  readonly hasInstance: (instance: string) => boolean;
  /** The venv of its process; undefined without a process. */
  readonly prefix: () => string | undefined;
}

/** Notes about earlier calls for the output of the next one. */
const notesOnEarlierCalls = Effect.fnUntraced(function* (
  { state, mask }: RunnerContext,
  { session, threads }: LiveProcess,
) {
  const note = state.consumeNote();
  const notes = note === undefined ? [] : [note];
  if (threads.length === 0) return notes;
  const idleOutput = session.consumeIdleOutput();
  if (idleOutput !== "") {
    yield* Effect.logInfo(`Output of leftover threads between two jobs: ${mask(idleOutput)}`);
  }
  notes.push(
    `Threads of an earlier job are still running (${threads.join(", ")}). This output may contain theirs.`,
  );
  return notes;
});

const hasCrashed = (end: CallEnd): boolean => end._tag === "ProcessEnded" && !end.hasTimedOut;

/**
 * Runs calls one after the other in a persistent Python process. The process is started by the first call, replaced
 * when it ended or can't be trusted any more, and killed with all of its descendants when the scope closes.
 * Interrupting a call stops its code.
 */
export const makeRunner = Effect.gen(function* () {
  const { maskStream, mask } = yield* Environment;
  const outputLimit = yield* OUTPUT_LIMIT.value;
  const semaphore = Semaphore.makeUnsafe(1);
  const { context, preloader, start, warm } = yield* makeReadiness(semaphore);
  const { state, limits } = context;

  const callOnce = Effect.fnUntraced(function* (
    call: Call,
    failuresBefore: number,
    isRepeated = false,
  ): Effect.fn.Return<CallOutcome, CallFailed> {
    const previous = state.process();
    const process = yield* preloader.ensure(call.workspace, failuresBefore);
    if (process !== previous) (yield* JobEvents.JobListener).notify({ _tag: "ProcessStarted" });
    const notes = yield* notesOnEarlierCalls(context, process);
    const output = yield* openCallOutput(maskStream, outputLimit);
    const end = interpretEnd(call.meta, yield* sendCall(process, call, output, limits));
    // Its imports ended the process before the call began.
    if (process.session.imports.isRunning && hasCrashed(end) && !isRepeated) {
      return yield* callOnce(call, failuresBefore, true);
    }
    const text = output.text();
    if (end._tag !== "Completed") return yield* failCall(context, process, end, text);
    notes.push(...recordCompletion(context, process, call, end));
    notes.push(...(yield* replaceIfUnfit(context, process, end)));
    const outcome: CallOutcome = {
      result: end.result,
      value: end.value,
      output: withNotes(text, notes, mask),
    };
    return outcome;
  });

  const runner: Runner = {
    call: (call) =>
      Effect.suspend(() => semaphore.withPermit(callOnce(call, preloader.failures()))),
    start,
    warm,
    hasInstance: state.hasInstance,
    prefix: () => state.process()?.prefix,
  };
  return runner;
});
