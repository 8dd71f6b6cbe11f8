import {
  Clock,
  Deferred,
  Duration,
  Effect,
  Exit,
  Option,
  Result,
  Schedule,
  Schema,
  Scope,
  Semaphore,
} from "effect";

import type { EncodedValue } from "../domain/EncodedValue.ts";
import * as JobEvents from "../domain/JobEvents.ts";
import { LiveLines } from "../platform/LiveLines.ts";
import { Environment } from "../settings/Environment.ts";
import { excerpt } from "../settings/Excerpt.ts";
import * as Setting from "../settings/Setting.ts";
import type { PreparedWorkspace, WorkspaceError } from "../workspace/Workspace.ts";
import { CallTimedOut, RunnerCrashed, RunnerUnavailable } from "./RunnerError.ts";
import { RunnerLauncher } from "./RunnerLauncher.ts";
import { type CallMeta, CallResult, type Frame } from "./RunnerProtocol.ts";
import type { RunnerSession } from "./RunnerSession.ts";
import type { Exchange, ExchangeEnd } from "./call/Exchanges.ts";
import { OutputCapture } from "./output/OutputCapture.ts";

const OUTPUT_LIMIT = Setting.integer({
  name: "WORKER_OUTPUT_LIMIT",
  doc: "How much of a job's output its answer has: a quarter from the beginning, the rest from the end.",
  unit: "bytes",
  minimum: 4096,
  fallback: 1024 * 1024,
});

const JOB_TIMEOUT = Setting.optionalSeconds({
  name: "WORKER_JOB_TIMEOUT",
  doc: "How long a job's code may run before it is stopped.",
});

const CANCEL_GRACE = Setting.seconds({
  name: "WORKER_CANCEL_GRACE",
  doc: "Time between asking code to stop (SIGINT) and killing its process (SIGKILL).",
  minimum: Duration.zero,
  fallback: Duration.seconds(5),
});

/** The most notes of an answer, and the longest note, in characters. */
const MOST_NOTES = 100;
const LONGEST_NOTE = 4096;

/** SIGKILL takes effect at once, unless the process is stuck in a driver. */
const KILL_LIMIT = "10 seconds";

/** Ids of lost instances that are remembered, so that a rebuilt one can be explained. */
const LOST_REMEMBERED = 1024;

/** The most thread names in a note of the next job, and the longest name, in characters. */
const MOST_THREADS = 21;
const LONGEST_NAME = 100;

export interface Call {
  readonly meta: CallMeta;
  readonly blobs: ReadonlyArray<Uint8Array>;
  /** Where it runs. A process that has seen a lower generation of it invalidates its import caches first. */
  readonly workspace: PreparedWorkspace;
  /** Gets each value of a generator as it comes; undefined in place of one that is above its limit. */
  readonly chunk?: (value: EncodedValue | undefined) => void;
}

/** A call that came to its end in Python, with a value or with an error of the user's code. */
export interface CallOutcome {
  readonly result: CallResult;
  readonly value: EncodedValue | undefined;
  /** Everything written, with the worker's own notes, credentials masked. */
  readonly output: string;
}

export type CallFailed = RunnerCrashed | CallTimedOut | RunnerUnavailable | WorkspaceError;

const decodeResult = Schema.decodeUnknownResult(CallResult);

/** A name as a short, single line, for a note of the next job. */
const oneLine = (name: string): string =>
  name.slice(0, LONGEST_NAME).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?");

const note = (sentence: string) => `[worker-tetra] ${sentence}\n`;

/** Notes come on lines of their own after what the job wrote. */
const withNotes = (
  output: string,
  notes: ReadonlyArray<string>,
  mask: (text: string) => string,
): string => {
  if (notes.length === 0) return output;
  const separator = output === "" || output.endsWith("\n") ? "" : "\n";
  const shown = notes.slice(0, MOST_NOTES).map((text) => excerpt(mask(text), LONGEST_NOTE));
  if (notes.length > MOST_NOTES) shown.push(`${notes.length - MOST_NOTES} more notes`);
  return output + separator + shown.map(note).join("");
};

/** Whether a result can belong to a call: any code in the process can write one. */
const isResultOf = (
  { meta }: Call,
  { ok, error, instance }: CallResult,
  value: EncodedValue | undefined,
): boolean =>
  ok === (error === null) &&
  ok === (value !== undefined) &&
  (value === undefined || value.format === meta.format) &&
  (instance === null ||
    (meta.kind === "class" && (meta.instance === null || meta.instance === instance.id)));

/** Keeps the ids of the instances that live in a process, the one used last at the end, as the runner does. */
const updateInstances = (living: Set<string>, { meta }: Call, result: CallResult): void => {
  const { instance, instances, lives } = result;
  if (meta.instance !== null && !lives) living.delete(meta.instance);
  if (instance !== null) {
    living.delete(instance.id);
    living.add(instance.id);
  }
  for (const id of [...living].slice(0, Math.max(0, living.size - instances))) living.delete(id);
};

/** A persistent Python process, as those who have work for it see it. */
export interface Runner {
  readonly call: (call: Call) => Effect.Effect<CallOutcome, CallFailed>;
  /** Starts the process ahead of the first call. */
  readonly warm: Effect.Effect<void, CallFailed>;
  /** Whether an instance lives in it, or lived in one before it. */
  readonly knows: (instance: string) => boolean;
  /** Where it runs from at this moment. */
  readonly prefix: () => string | undefined;
}

/**
 * A persistent Python process that runs the jobs' code, one call after the other. It is started on first
 * need, replaced when it ended or can't be trusted any more, and killed with everything under it when the
 * scope closes. Interrupting a call stops the code.
 */
export const makeRunner = Effect.gen(function* () {
  const launcher = yield* RunnerLauncher;
  const { mask, maskStream } = yield* Environment;
  const outputLimit = yield* OUTPUT_LIMIT.value;
  const jobTimeout = yield* JOB_TIMEOUT.value;
  const cancelGrace = yield* CANCEL_GRACE.value;
  const layerScope = yield* Effect.scope;
  const turn = Semaphore.makeUnsafe(1);

  interface Live {
    readonly session: RunnerSession;
    readonly scope: Scope.Closeable;
    readonly instances: Set<string>;
    /** The newest generation of the workspace that it has seen. */
    generation: number;
    /** Threads that an earlier call left running. */
    threads: ReadonlyArray<string>;
  }
  let live: Live | undefined;
  /** Instances that ended with their process, and why. */
  const lost = new Map<string, string>();

  /** What the next call has to be told of the process before. */
  let farewell: string | undefined;

  const retire = Effect.fnUntraced(function* (old: Live, why: string) {
    live = undefined;
    for (const id of old.instances) {
      lost.delete(id);
      lost.set(id, why);
    }
    for (const id of [...lost.keys()].slice(0, -LOST_REMEMBERED)) lost.delete(id);
    yield* Scope.close(old.scope, Exit.void);
  });

  const current = Effect.fnUntraced(function* (wanted?: PreparedWorkspace) {
    const workspace = wanted ?? (yield* launcher.workspace);
    const { prefix } = workspace;
    if (live !== undefined) {
      if (live.session.exit() !== undefined) {
        yield* retire(live, "the Python process that held it ended between two jobs");
      } else if (live.session.ready.prefix !== prefix) {
        const count = live.instances.size;
        if (count > 0) {
          farewell = `The virtual environment was replaced, and the ${count === 1 ? "instance" : `${count} instances`} of the Python process before with it.`;
        }
        yield* retire(live, "the virtual environment was replaced");
      } else {
        return live;
      }
    }
    const scope = yield* Scope.fork(layerScope);
    const session = yield* launcher.launch(workspace).pipe(
      Scope.provide(scope),
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause))),
    );
    live = { session, scope, instances: new Set(), generation: workspace.generation, threads: [] };
    return live;
  });

  /** A new process is ready by the time that it is needed, if all goes well. */
  const respawn = turn
    .withPermit(Effect.suspend(() => current()))
    .pipe(Effect.ignore, Effect.forkIn(layerScope), Effect.asVoid);

  const stop = Effect.fnUntraced(function* (session: RunnerSession, begun: Exchange) {
    // Asked a second time half-way: the first may have come before the code began, and was lost.
    const asking = Effect.repeat(
      Effect.sync(() => session.process.interrupt()),
      Schedule.spaced(Duration.times(cancelGrace, 0.5)),
    );
    const end = yield* Deferred.await(begun.end).pipe(
      Effect.raceFirst(Effect.andThen(asking, Effect.never)),
      Effect.timeoutOption(cancelGrace),
    );
    if (Option.isSome(end)) return end.value;
    session.process.kill();
    const killed = yield* Effect.timeoutOption(Deferred.await(begun.end), KILL_LIMIT);
    return Option.getOrElse(killed, (): ExchangeEnd => ({
      exit: { code: undefined, signal: "SIGKILL" },
    }));
  });

  /** One exchange from its first byte to its end. Once it has begun, interrupting it stops the code first. */
  const exchange = (
    session: RunnerSession,
    begin: () => Exchange,
  ): Effect.Effect<{ readonly end: ExchangeEnd; readonly late: boolean }> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const begun = begin();
        const ended = Deferred.await(begun.end);
        const waited = Option.isNone(jobTimeout)
          ? Effect.map(ended, (end) => ({ end, late: false }))
          : Effect.timeoutOption(ended, jobTimeout.value).pipe(
              Effect.flatMap((end) =>
                Option.isSome(end)
                  ? Effect.succeed({ end: end.value, late: false })
                  : Effect.map(stop(session, begun), (stopped) => ({
                      end: stopped,
                      late: true,
                    })),
              ),
            );
        return restore(waited).pipe(
          Effect.onInterrupt(() => stop(session, begun)),
          Effect.ensuring(Effect.sync(() => session.finish())),
        );
      }),
    );

  const attempt = Effect.fnUntraced(function* (call: Call) {
    const events = yield* JobEvents.JobListener;
    const linesPerSecond = yield* JobEvents.OutputRate;
    const clock = yield* Clock.Clock;
    const before = live;
    const runner = yield* current(call.workspace);
    if (runner !== before) events.notify({ _tag: "ProcessStarted" });
    const { session } = runner;
    const notes: Array<string> = farewell === undefined ? [] : [farewell];
    farewell = undefined;
    if (runner.threads.length > 0) {
      const between = session.takeIdleOutput();
      if (between !== "")
        yield* Effect.logInfo(`Written between two jobs by leftover threads: ${mask(between)}`);
      notes.push(
        `Threads of an earlier job are still running (${runner.threads.join(", ")}): what they write may be in this output.`,
      );
    }

    const capture = new OutputCapture(outputLimit);
    const lines = events.wantsOutput
      ? new LiveLines(
          (text) => events.notify({ _tag: "OutputWritten", lines: text }),
          () => clock.currentTimeMillisUnsafe(),
          { linesPerSecond },
        )
      : undefined;
    // Before anything is cut: a part of a secret may not be recognised.
    const masked = maskStream((bytes) => {
      capture.write(bytes);
      lines?.write(bytes);
    });
    const { generation } = call.workspace;
    const refresh = generation > runner.generation;
    runner.generation = Math.max(generation, runner.generation);
    const { end, late } = yield* exchange(session, () =>
      session.begin({ ...call.meta, refresh }, call.blobs, {
        output: masked.write,
        limits: { result: call.meta.limit, chunk: call.meta.chunkLimit },
        chunk: ({ value }: Frame) => call.chunk?.(value),
      }),
    ).pipe(
      Effect.ensuring(
        Effect.sync(() => {
          masked.end();
          lines?.end();
        }),
      ),
    );
    const output = capture.text();

    if (end.exit !== undefined) {
      const instancesLost = runner.instances.size;
      yield* retire(runner, "the Python process that held it ended");
      yield* respawn;
      if (late) {
        return yield* new CallTimedOut({
          seconds: Duration.toSeconds(Option.getOrElse(jobTimeout, () => Duration.zero)),
          killed: true,
          output,
        });
      }
      const { code, signal, fault } = end.exit;
      return yield* new RunnerCrashed({
        ...(fault === undefined ? {} : { fault }),
        ...(code === undefined ? {} : { exitCode: code }),
        ...(signal === undefined ? {} : { signal }),
        instancesLost,
        output,
      });
    }

    const decoded = decodeResult(end.answer.meta);
    if (Result.isFailure(decoded) || !isResultOf(call, decoded.success, end.answer.value)) {
      yield* retire(runner, "the Python process that held it was replaced");
      return yield* new RunnerUnavailable({
        reason: "answered with something that is no result",
        output,
        hasStarted: true,
      });
    }
    const result = decoded.success;
    if (late && result.error?.kind === "cancelled") {
      return yield* new CallTimedOut({
        seconds: Duration.toSeconds(Option.getOrElse(jobTimeout, () => Duration.zero)),
        killed: false,
        output,
      });
    }
    notes.push(...result.notes);
    runner.threads = result.threads.slice(0, MOST_THREADS).map((name) => oneLine(mask(name)));
    if (result.instance !== null) {
      const { id } = result.instance;
      const why = lost.get(id);
      if (why !== undefined && !runner.instances.has(id)) {
        notes.push(`Instance ${id} was built anew: ${why}.`);
        lost.delete(id);
      }
    }
    updateInstances(runner.instances, call, result);
    if (result.output && !session.process.attach()) {
      yield* retire(runner, "the Python process that held it was replaced");
    }
    if (result.poisoned !== null) {
      events.notify({ _tag: "GpuLost" });
      notes.push(`The Python process was replaced, and its instances are gone: ${result.poisoned}`);
      yield* retire(runner, "the Python process that held it was replaced after a CUDA error");
      yield* respawn;
    }
    return { result, value: end.answer.value, output: withNotes(output, notes, mask) };
  });

  const runner: Runner = {
    call: (call) => turn.withPermit(attempt(call)),
    warm: turn.withPermit(Effect.asVoid(current())),
    knows: (instance) => live?.instances.has(instance) === true || lost.has(instance),
    prefix: () => live?.session.ready.prefix,
  };
  return runner;
});
