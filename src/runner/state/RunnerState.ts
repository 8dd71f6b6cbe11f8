import { type Deferred, Effect, Option, ScopedRef } from "effect";

import type { PreparedWorkspace, WorkspaceError } from "../../workspace/PreparedWorkspace.ts";
import type { RunnerUnavailable } from "../RunnerError.ts";
import { RunnerLauncher } from "../RunnerLauncher.ts";
import type { Imports } from "../RunnerProtocol.ts";
import type { RunnerSession } from "../RunnerSession.ts";
import type { ImportsEnd } from "../imports/ImportWatch.ts";
import { LiveInstances, LostInstances } from "./Instances.ts";
import { setInterruptibly } from "./Replacement.ts";

/** A Python process with the instances and threads that its calls left. */
export class LiveProcess {
  readonly session: RunnerSession;
  readonly instances = new LiveInstances();
  /** Names of threads that an earlier call left running. */
  threads: ReadonlyArray<string> = [];
  /** The workspace that it was started for. */
  readonly workspace: PreparedWorkspace;
  /** Whether WORKER_PRELOAD has run in it. */
  isPreloaded = false;
  /** The newest generation of the workspace that a call had. */
  private generation: number;
  /** Whether it has run a call, or has imported modules for the first one. */
  private hasBegun = false;

  constructor(session: RunnerSession, workspace: PreparedWorkspace) {
    this.session = session;
    this.workspace = workspace;
    this.generation = workspace.generation;
  }

  get hasEnded(): boolean {
    return this.session.exit() !== undefined;
  }

  get prefix(): string {
    return this.session.ready.prefix;
  }

  /** Sets the generation of the next call; returns whether packages were added since the last call. */
  advanceTo(generation: number): boolean {
    this.hasBegun = true;
    const isNewer = generation > this.generation;
    if (isNewer) this.generation = generation;
    return isNewer;
  }

  /** Begins the imports before the first call; undefined if it is too late for them. */
  beginImports(imports: Imports): Deferred.Deferred<ImportsEnd> | undefined {
    if (this.hasBegun || this.hasEnded) return undefined;
    this.hasBegun = true;
    return this.session.importWhileIdle(imports);
  }
}

/** The process of a runner, and the instances that were lost with earlier ones. */
export interface RunnerState {
  readonly process: () => LiveProcess | undefined;
  /** Returns a process for the workspace. Replaces one that has ended or runs from another venv. */
  readonly ensureProcess: (
    workspace: PreparedWorkspace,
  ) => Effect.Effect<LiveProcess, RunnerUnavailable | WorkspaceError>;
  /** Ends a process; `reason` explains the loss of its instances, as the end of a sentence. */
  readonly retire: (process: LiveProcess, reason: string) => Effect.Effect<void>;
  /** Returns and removes the reason why an instance was lost; undefined if it was not lost. */
  readonly consumeLossReason: (instance: string) => string | undefined;
  /** Whether the process has the instance, or an earlier one had it. */
  readonly hasInstance: (instance: string) => boolean;
  /** Returns and removes the note about an earlier process, for the output of the next call. */
  readonly consumeNote: () => string | undefined;
}

const replacementNote = (instances: number): string =>
  `The virtual environment was replaced, and the ${instances === 1 ? "instance" : `${instances} instances`} of the previous Python process ${instances === 1 ? "was" : "were"} lost.`;

/** The state of a runner; its process ends with the scope. It must not be used concurrently. */
export const makeRunnerState = Effect.gen(function* () {
  const launcher = yield* RunnerLauncher;
  const current = yield* ScopedRef.make(() => Option.none<LiveProcess>());
  const lost = new LostInstances();
  let note: string | undefined;

  const retire: RunnerState["retire"] = (process, reason) =>
    Effect.suspend(() => {
      lost.add(process.instances.ids, reason);
      if (!process.hasEnded) process.session.imports.abandon();
      return ScopedRef.set(current, Effect.succeedNone);
    });

  const start = Effect.fnUntraced(function* (workspace: PreparedWorkspace) {
    const launched = Effect.map(launcher.launch(workspace), (session) =>
      Option.some(new LiveProcess(session, workspace)),
    );
    yield* setInterruptibly(current, launched);
    return Option.getOrThrow(ScopedRef.getUnsafe(current));
  });

  const ensureProcess = Effect.fnUntraced(function* (workspace: PreparedWorkspace) {
    const process = Option.getOrUndefined(ScopedRef.getUnsafe(current));
    if (process === undefined) return yield* start(workspace);
    // The old process ends before the next one starts, since the memory of the GPU may not be enough for both.
    if (process.hasEnded) {
      yield* retire(process, "its Python process ended between two jobs");
      return yield* start(workspace);
    }
    if (process.prefix !== workspace.prefix) {
      const { size } = process.instances;
      if (size > 0) note = replacementNote(size);
      yield* retire(process, "the virtual environment was replaced");
      return yield* start(workspace);
    }
    return process;
  });

  const state: RunnerState = {
    process: () => Option.getOrUndefined(ScopedRef.getUnsafe(current)),
    ensureProcess,
    retire,
    consumeLossReason: (instance) => lost.remove(instance),
    hasInstance: (instance) =>
      Option.exists(ScopedRef.getUnsafe(current), ({ instances }) => instances.has(instance)) ||
      lost.has(instance),
    consumeNote: () => {
      const pending = note;
      note = undefined;
      return pending;
    },
  };
  return state;
});
