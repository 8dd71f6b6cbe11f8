import { Effect, Semaphore } from "effect";

import * as JobEvents from "../domain/JobEvents.ts";
import { Environment } from "../settings/Environment.ts";
import * as Setting from "../settings/Setting.ts";
import type { PreparedWorkspace } from "../workspace/PreparedWorkspace.ts";
import { RunnerLauncher } from "./RunnerLauncher.ts";
import type { Call, CallFailed, CallOutcome } from "./call/Call.ts";
import { type CallEnd, failureOf, interpretEnd } from "./call/CallEnd.ts";
import { exchange, timeLimits } from "./call/CallExchange.ts";
import { makeIdleImports } from "./imports/IdleImports.ts";
import { type CallOutput, openCallOutput } from "./output/CallOutput.ts";
import { threadNames, withNotes } from "./output/Notes.ts";
import { type LiveProcess, makeRunnerState, type RunnerState } from "./state/RunnerState.ts";

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
  readonly warm: Effect.Effect<void, CallFailed>;
  /** Whether its process has the instance, or an earlier one had it. */
  readonly hasInstance: (instance: string) => boolean;
  /** The venv of its process; undefined without a process. */
  readonly prefix: () => string | undefined;
}

type Mask = Environment["Service"]["mask"];
type Limits = Effect.Success<typeof timeLimits>;
type Completed = Extract<CallEnd, { _tag: "Completed" }>;

/** What all steps of a call use. */
interface RunnerContext {
  readonly state: RunnerState;
  readonly limits: Limits;
  readonly mask: Mask;
  /** Starts another process in the background. */
  readonly respawn: Effect.Effect<void>;
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

/** Sends a call to a process and waits until it ends. */
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

const hasCrashed = (end: CallEnd): boolean => end._tag === "ProcessEnded" && !end.hasTimedOut;

/** Fails with the reason why a call did not complete. Replaces its process unless the call stopped at its timeout. */
const failCall = Effect.fnUntraced(function* (
  { state, limits, respawn }: RunnerContext,
  process: LiveProcess,
  end: Exclude<CallEnd, Completed>,
  output: string,
) {
  const { size } = process.instances;
  if (end._tag === "ProcessEnded") {
    yield* state.retire(process, "its Python process ended");
    yield* respawn;
  } else if (end._tag === "InvalidResponse") {
    yield* state.retire(process, "its Python process was replaced");
  }
  return yield* failureOf(end, { output, timeout: limits.timeout, instances: size });
});

/** Updates the state after a completed call, and returns notes about it. */
const recordCompletion = (
  { state, mask }: RunnerContext,
  process: LiveProcess,
  { meta }: Call,
  { result }: Completed,
): Array<string> => {
  const notes = [...result.notes];
  process.threads = threadNames(result.threads, mask);
  const id = result.instance?.id;
  if (id !== undefined && !process.instances.has(id)) {
    const reason = state.consumeLossReason(id);
    if (reason !== undefined) notes.push(`Instance ${id} was recreated: ${reason}.`);
  }
  process.instances.update(meta, result);
  return notes;
};

/** Replaces a process that can't run another call after a completed one, and returns notes about it. */
const replaceIfUnfit = Effect.fnUntraced(function* (
  { state, respawn }: RunnerContext,
  process: LiveProcess,
  { result }: Completed,
) {
  if (result.output && !process.session.process.attach()) {
    yield* state.retire(process, "its Python process was replaced");
  }
  if (result.poisoned === null) return [];
  (yield* JobEvents.JobListener).notify({ _tag: "GpuLost" });
  yield* state.retire(process, "its Python process was replaced after a CUDA error");
  yield* respawn;
  return [`The Python process was replaced and its instances were lost: ${result.poisoned}`];
});

/**
 * Runs calls one after the other in a persistent Python process. The process is started by the first call, replaced
 * when it ended or can't be trusted any more, and killed with all of its descendants when the scope closes.
 * Interrupting a call stops its code.
 */
export const makeRunner = Effect.gen(function* () {
  const launcher = yield* RunnerLauncher;
  const { mask, maskStream } = yield* Environment;
  const outputLimit = yield* OUTPUT_LIMIT.value;
  const limits = yield* timeLimits;
  const state = yield* makeRunnerState;
  const idleImports = yield* makeIdleImports;
  const scope = yield* Effect.scope;
  const semaphore = Semaphore.makeUnsafe(1);

  const ensureProcess = Effect.fnUntraced(function* (workspace: PreparedWorkspace) {
    const before = state.process();
    const process = yield* state.ensureProcess(workspace);
    if (process !== before) idleImports.watch(process);
    return process;
  });

  /** Starts a process if there is none. A process of another venv is replaced only by the next call. */
  const start = semaphore.withPermit(
    Effect.gen(function* () {
      const process = state.process();
      if (process?.hasEnded === false) return process;
      return yield* ensureProcess(yield* launcher.workspace);
    }),
  );
  const importModules = (process: LiveProcess): Effect.Effect<void> =>
    idleImports
      .run(process, semaphore.withPermitsIfAvailable(1))
      .pipe(Effect.flatMap((hasEnded) => (hasEnded ? respawn : Effect.void)));
  const warm: Runner["warm"] = Effect.flatMap(start, (process) =>
    Effect.asVoid(Effect.forkIn(importModules(process), scope)),
  );
  const respawn = warm.pipe(Effect.ignore, Effect.forkIn(scope), Effect.asVoid);
  const context: RunnerContext = { state, limits, mask, respawn };

  const callOnce = Effect.fnUntraced(function* (
    call: Call,
    isRepeated = false,
  ): Effect.fn.Return<CallOutcome, CallFailed> {
    const previous = state.process();
    const process = yield* ensureProcess(call.workspace);
    if (process !== previous) (yield* JobEvents.JobListener).notify({ _tag: "ProcessStarted" });
    const notes = yield* notesOnEarlierCalls(context, process);
    const output = yield* openCallOutput(maskStream, outputLimit);
    const end = interpretEnd(call.meta, yield* sendCall(process, call, output, limits));
    // Its imports ended the process before the call began.
    if (process.session.imports.isRunning && hasCrashed(end) && !isRepeated) {
      return yield* callOnce(call, true);
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
    call: (call) => semaphore.withPermit(callOnce(call)),
    warm,
    hasInstance: state.hasInstance,
    prefix: () => state.process()?.prefix,
  };
  return runner;
});
