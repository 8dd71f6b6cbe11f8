import { Effect, Option, ScopedRef } from "effect";

import type { PreparedWorkspace, WorkspaceError } from "../../workspace/PreparedWorkspace.ts";
import type { RunnerUnavailable } from "../RunnerError.ts";
import { RunnerLauncher } from "../RunnerLauncher.ts";
import type { RunnerSession } from "../RunnerSession.ts";
import { LiveInstances, LostInstances } from "./Instances.ts";

/** A Python process, and what is known of what its calls have left in it. */
export class LiveProcess {
  readonly session: RunnerSession;
  readonly instances = new LiveInstances();
  /** Names of threads that an earlier call left running. */
  threads: ReadonlyArray<string> = [];
  /** The newest generation of the workspace that it has seen. */
  private generation: number;

  constructor(session: RunnerSession, generation: number) {
    this.session = session;
    this.generation = generation;
  }

  get hasEnded(): boolean {
    return this.session.exit() !== undefined;
  }

  get prefix(): string {
    return this.session.ready.prefix;
  }

  /** Follows the workspace of its next call; returns whether packages were added since the last one. */
  advanceTo(generation: number): boolean {
    const isNewer = generation > this.generation;
    if (isNewer) this.generation = generation;
    return isNewer;
  }
}

/** What a runner knows: its process, if it has one, and what became of those before. */
export interface RunnerState {
  readonly process: () => LiveProcess | undefined;
  /** Returns a process that runs from the workspace, which replaces one that has ended or runs from elsewhere. */
  readonly ensureProcess: (
    workspace: PreparedWorkspace,
  ) => Effect.Effect<LiveProcess, RunnerUnavailable | WorkspaceError>;
  /** Ends a process; `reason` is why its instances are lost, as the end of a sentence. */
  readonly retire: (process: LiveProcess, reason: string) => Effect.Effect<void>;
  /** Why an instance was lost, and forgets it; undefined if it was not. */
  readonly consumeLossReason: (instance: string) => string | undefined;
  /** Whether an instance lives in the process, or was lost with an earlier one. */
  readonly hasInstance: (instance: string) => boolean;
  /** A note on an earlier process for the output of the next call, and forgets it. */
  readonly consumeNote: () => string | undefined;
}

const replacementNote = (instances: number): string =>
  `The virtual environment was replaced, and the ${instances === 1 ? "instance" : `${instances} instances`} of the Python process before with it.`;

/** The state of a runner whose process lives at most as long as the scope. It must not be used concurrently. */
export const makeRunnerState = Effect.gen(function* () {
  const launcher = yield* RunnerLauncher;
  const current = yield* ScopedRef.make(() => Option.none<LiveProcess>());
  const lost = new LostInstances();
  let note: string | undefined;

  const retire: RunnerState["retire"] = (process, reason) =>
    Effect.suspend(() => {
      lost.add(process.instances.ids, reason);
      return ScopedRef.set(current, Effect.succeedNone);
    });

  const start = Effect.fnUntraced(function* (workspace: PreparedWorkspace) {
    const launched = Effect.map(launcher.launch(workspace), (session) =>
      Option.some(new LiveProcess(session, workspace.generation)),
    );
    // A reference is set uninterruptibly, but a start may take minutes.
    yield* Effect.uninterruptibleMask((restore) => ScopedRef.set(current, restore(launched)));
    return Option.getOrThrow(ScopedRef.getUnsafe(current));
  });

  const ensureProcess = Effect.fnUntraced(function* (workspace: PreparedWorkspace) {
    const process = Option.getOrUndefined(ScopedRef.getUnsafe(current));
    if (process === undefined) return yield* start(workspace);
    // An old process ends before the next one starts: both may not fit into the memory of the GPU.
    if (process.hasEnded) {
      yield* retire(process, "the Python process that held it ended between two jobs");
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
      const taken = note;
      note = undefined;
      return taken;
    },
  };
  return state;
});
