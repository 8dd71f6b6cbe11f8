import { Effect, Semaphore } from "effect";

import * as JobEvents from "../domain/JobEvents.ts";
import { Environment } from "../settings/Environment.ts";
import * as Setting from "../settings/Setting.ts";
import { RunnerLauncher } from "./RunnerLauncher.ts";
import type { Call, CallFailed, CallOutcome } from "./call/Call.ts";
import { type CallEnd, failureOf, interpretEnd } from "./call/CallEnd.ts";
import { exchange, timeLimits } from "./call/CallExchange.ts";
import { type CallOutput, openCallOutput } from "./output/CallOutput.ts";
import { threadNames, withNotes } from "./output/Notes.ts";
import { type LiveProcess, makeRunnerState, type RunnerState } from "./state/RunnerState.ts";

const OUTPUT_LIMIT = Setting.integer({
  name: "WORKER_OUTPUT_LIMIT",
  doc: "How much of a job's output its answer has: a quarter from the beginning, the rest from the end.",
  unit: "bytes",
  minimum: 4096,
  fallback: 1024 * 1024,
});

/** A persistent Python process that runs calls. */
export interface Runner {
  readonly call: (call: Call) => Effect.Effect<CallOutcome, CallFailed>;
  /** Starts the process ahead of the first call. */
  readonly warm: Effect.Effect<void, CallFailed>;
  /** Whether an instance lives in its process, or was lost with an earlier one. */
  readonly hasInstance: (instance: string) => boolean;
  /** The virtual environment that its process runs from; undefined without a process. */
  readonly prefix: () => string | undefined;
}

type Mask = Environment["Service"]["mask"];
type Limits = Effect.Success<typeof timeLimits>;
type Completed = Extract<CallEnd, { _tag: "Completed" }>;

/** What the steps of a call share. */
interface Steps {
  readonly state: RunnerState;
  readonly limits: Limits;
  readonly mask: Mask;
  /** Starts another process in the background. */
  readonly respawn: Effect.Effect<void>;
}

/** Notes for the output of a call on what earlier ones have left. */
const notesOnEarlierCalls = Effect.fnUntraced(function* (
  { state, mask }: Steps,
  { session, threads }: LiveProcess,
) {
  const note = state.consumeNote();
  const notes = note === undefined ? [] : [note];
  if (threads.length === 0) return notes;
  const between = session.consumeIdleOutput();
  if (between !== "") {
    yield* Effect.logInfo(`Written between two jobs by leftover threads: ${mask(between)}`);
  }
  notes.push(
    `Threads of an earlier job are still running (${threads.join(", ")}): what they write may be in this output.`,
  );
  return notes;
});

/** Sends a call to a process, and waits for its end. */
const sendCall = (process: LiveProcess, call: Call, output: CallOutput, limits: Limits) => {
  const begin = () => {
    const refresh = process.advanceTo(call.workspace.generation);
    return process.session.begin({ ...call.meta, refresh }, call.blobs, {
      output: output.write,
      limits: { result: call.meta.limit, chunk: call.meta.chunkLimit },
      chunk: ({ value }) => call.chunk?.(value),
    });
  };
  return Effect.ensuring(exchange(process.session, begin, limits), Effect.sync(output.end));
};

/** Replaces a process whose call did not complete, unless it only took too long, and fails with the reason. */
const failCall = Effect.fnUntraced(function* (
  { state, limits, respawn }: Steps,
  process: LiveProcess,
  end: Exclude<CallEnd, Completed>,
  output: string,
) {
  const { size } = process.instances;
  if (end._tag === "ProcessEnded") {
    yield* state.retire(process, "the Python process that held it ended");
    yield* respawn;
  } else if (end._tag === "InvalidResponse") {
    yield* state.retire(process, "the Python process that held it was replaced");
  }
  return yield* failureOf(end, { output, timeout: limits.timeout, instances: size });
});

/** Follows in the state what a completed call did to the process, and returns notes on that. */
const recordCompletion = (
  { state, mask }: Steps,
  process: LiveProcess,
  { meta }: Call,
  { result }: Completed,
): Array<string> => {
  const notes = [...result.notes];
  process.threads = threadNames(result.threads, mask);
  const id = result.instance?.id;
  if (id !== undefined && !process.instances.has(id)) {
    const reason = state.consumeLossReason(id);
    if (reason !== undefined) notes.push(`Instance ${id} was built anew: ${reason}.`);
  }
  process.instances.update(meta, result);
  return notes;
};

/** Replaces a process that must not run another call after one that completed; returns a note on that for the user. */
const replaceIfUnfit = Effect.fnUntraced(function* (
  { state, respawn }: Steps,
  process: LiveProcess,
  { result }: Completed,
) {
  if (result.output && !process.session.process.attach()) {
    yield* state.retire(process, "the Python process that held it was replaced");
  }
  if (result.poisoned === null) return [];
  (yield* JobEvents.JobListener).notify({ _tag: "GpuLost" });
  yield* state.retire(process, "the Python process that held it was replaced after a CUDA error");
  yield* respawn;
  return [`The Python process was replaced, and its instances are gone: ${result.poisoned}`];
});

/**
 * A persistent Python process that runs the jobs' code, one call after the other. It is started on first
 * need, replaced when it ended or can't be trusted any more, and killed with everything under it when the
 * scope closes. Interrupting a call stops the code.
 */
export const makeRunner = Effect.gen(function* () {
  const launcher = yield* RunnerLauncher;
  const { mask, maskStream } = yield* Environment;
  const outputLimit = yield* OUTPUT_LIMIT.value;
  const limits = yield* timeLimits;
  const state = yield* makeRunnerState;
  const scope = yield* Effect.scope;
  const semaphore = Semaphore.makeUnsafe(1);

  /** Starts a process if there is none: one that runs from elsewhere is replaced by the call that needs that. */
  const warm = semaphore.withPermit(
    Effect.gen(function* () {
      if (state.process()?.hasEnded === false) return;
      yield* state.ensureProcess(yield* launcher.workspace);
    }),
  );
  const respawn = warm.pipe(Effect.ignore, Effect.forkIn(scope), Effect.asVoid);
  const steps: Steps = { state, limits, mask, respawn };

  const callOnce = Effect.fnUntraced(function* (call: Call) {
    const before = state.process();
    const process = yield* state.ensureProcess(call.workspace);
    if (process !== before) (yield* JobEvents.JobListener).notify({ _tag: "ProcessStarted" });
    const notes = yield* notesOnEarlierCalls(steps, process);
    const output = yield* openCallOutput(maskStream, outputLimit);
    const end = interpretEnd(call.meta, yield* sendCall(process, call, output, limits));
    const text = output.text();
    if (end._tag !== "Completed") return yield* failCall(steps, process, end, text);
    notes.push(...recordCompletion(steps, process, call, end));
    notes.push(...(yield* replaceIfUnfit(steps, process, end)));
    const outcome: CallOutcome = {
      result: end.result,
      value: end.value,
      output: withNotes(text, notes, mask),
    };
    return outcome;
  });

  const runner: Runner = {
    call: (call) => semaphore.withPermit(callOnce(call)),
    warm,
    hasInstance: state.hasInstance,
    prefix: () => state.process()?.prefix,
  };
  return runner;
});
