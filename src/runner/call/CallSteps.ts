import { Effect } from "effect";

import * as JobEvents from "../../domain/JobEvents.ts";
import type { Environment } from "../../settings/Environment.ts";
import type { CallOutput } from "../output/CallOutput.ts";
import { threadNames } from "../output/Notes.ts";
import type { LiveProcess, RunnerState } from "../state/RunnerState.ts";
import type { Call } from "./Call.ts";
import { type CallEnd, failureOf } from "./CallEnd.ts";
import { exchange, type TimeLimits } from "./CallExchange.ts";

type Mask = Environment["Service"]["mask"];
type Completed = Extract<CallEnd, { _tag: "Completed" }>;

/** What all steps of a call use. */
export interface RunnerContext {
  readonly state: RunnerState;
  readonly limits: TimeLimits;
  readonly mask: Mask;
  /** Starts another process in the background. */
  readonly respawn: Effect.Effect<void>;
}

/** Sends a call to a process and waits until it ends. */
export const sendCall = (
  process: LiveProcess,
  call: Call,
  output: CallOutput,
  limits: TimeLimits,
) => {
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

/** Fails with the reason why a call did not complete. Replaces its process unless the call stopped at its timeout. */
export const failCall = Effect.fnUntraced(function* (
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
export const recordCompletion = (
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
export const replaceIfUnfit = Effect.fnUntraced(function* (
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
