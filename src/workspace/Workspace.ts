import { tmpdir } from "node:os";

import {
  Clock,
  Context,
  Effect,
  Exit,
  FileSystem,
  Layer,
  Metric,
  Option,
  Path,
  Ref,
  Scope,
  Semaphore,
} from "effect";

import {
  type LockTimeout,
  BlockingLock,
  locksAcquired,
  locksTimedOut,
  lockWaits,
} from "../platform/BlockingLock.ts";
import { FileLock, type LockUnavailable } from "../platform/FileLock.ts";
import { DiskFault, diskFault } from "../platform/files/DiskFault.ts";
import { DiskUsage } from "../platform/files/DiskUsage.ts";
import { lockOf, removeWhole } from "../platform/files/Removal.ts";
import { safeFileSystem } from "../platform/files/SafeFileSystem.ts";
import { isWritable } from "../platform/files/Writability.ts";
import { Environment } from "../settings/Environment.ts";
import * as Setting from "../settings/Setting.ts";
import { type PythonNotFound } from "../venv/Interpreters.ts";
import type { Place } from "../venv/Place.ts";
import type { UvUnavailable } from "../venv/Uv.ts";
import type { Venv } from "../venv/Venv.ts";
import { type VenvError, VenvBuilder, venvsCreated } from "../venv/VenvBuilder.ts";
import { linkApp } from "./AppLink.ts";
import { jobEnvironment } from "./JobEnvironment.ts";
import { LastStart } from "./LastStart.ts";
import { linkModels } from "./ModelCache.ts";
import { Volume } from "./Volume.ts";

const APP_PATH = Setting.text({
  name: "WORKER_APP_PATH",
  doc: "The folder whose .venv programs expect that were made for the image (vLLM, say): a link is put there.",
  expected: "a path",
  fallback: "/app",
});

/** The facts are looked at again when they were seen longer ago than this, in milliseconds. */
const FACTS_AGE = 1000;

/** On its own disk a worker meets only others of its own machine, and has nowhere else to go: seconds. */
const OWN_PATIENCE = 600;

/** Environments that this worker has left and keeps from being removed, and the one in use. */
const HELD = 8;

/** An environment can vanish between being found and being held, but not for ever. */
const FIND_TRIES = 5;

/** What grows in the folder of caches; the workspaces of all endpoints are there too. */
export const CACHES = [
  "runtimes",
  ".uv-cache",
  ".hf-cache",
  ".torch",
  ".vllm-cache",
  ".apt-cache",
] as const;

/** Where jobs run, and with what. */
export interface PreparedWorkspace {
  /** The current directory of user code. */
  readonly directory: string;
  /** The interpreter of the virtual environment. */
  readonly python: string;
  /** The virtual environment, as Python has it in `sys.prefix`. */
  readonly prefix: string;
  /** Version of Python, such as `3.12.1`. */
  readonly version: string;
  /** The interpreter that the virtual environment was built from. */
  readonly basePython: string;
  readonly environment: Readonly<Record<string, string>>;
  /** The virtual environment itself. */
  readonly venv: Venv;
  /**
   * Increases when packages were added to the current virtual environment or another one was activated. A Python
   * process that has seen a lower number has to invalidate its import caches before the next call.
   */
  readonly generation: number;
}

export type WorkspaceError = VenvError | LockTimeout | LockUnavailable;

/** Whether another place could do better. */
const isAboutPlace = (
  error: WorkspaceError,
): error is Exclude<WorkspaceError, PythonNotFound | UvUnavailable> =>
  error._tag !== "PythonNotFound" && error._tag !== "UvUnavailable";

type Origin = "reused" | "created" | "rebuilt" | "initialized by another worker";

const venvsReused = Metric.counter("workspace_venv_reused", { incremental: true });
const venvsRebuilt = Metric.counter("workspace_venv_rebuilt", { incremental: true });

/** The metrics of this process so far, for the log. */
const figures = Effect.gen(function* () {
  const counts = yield* Effect.forEach(
    [locksAcquired, locksTimedOut, venvsCreated, venvsReused, venvsRebuilt],
    (counter) => Effect.map(Metric.value(counter), ({ count }) => count),
  );
  const { sum } = yield* Metric.value(lockWaits);
  const [acquired, timedOut, created, reused, rebuilt] = counts;
  return `locks: ${acquired} acquired, ${timedOut} timed out, ${(sum / 1000).toFixed(2)} s waited; environments: ${created} created, ${reused} reused, ${rebuilt} rebuilt`;
});

/**
 * The folder, virtual environment and variables of jobs: found or made on first need, looked at again cheaply
 * after that. The endpoint's network volume is preferred; where it can't serve, the container's disk does.
 */
export class Workspace extends Context.Service<
  Workspace,
  {
    readonly ready: Effect.Effect<PreparedWorkspace, WorkspaceError>;
    /** A new environment in place of the current one, against which there is evidence. */
    readonly rebuild: (evidence: string) => Effect.Effect<PreparedWorkspace, WorkspaceError>;
    /** All virtual environments of this image in the workspace, the newest first. */
    readonly listVenvs: Effect.Effect<ReadonlyArray<Venv>, PythonNotFound>;
    /** Makes another virtual environment the current one; none if it was removed or condemned. */
    readonly activate: (venv: Venv) => Effect.Effect<Option.Option<PreparedWorkspace>>;
    /** Builds a virtual environment that has these requirements, and activates it. */
    readonly extend: (
      requirements: ReadonlyArray<string>,
      /** Whether what is fetched may be kept; true unless said otherwise. */
      cache?: boolean,
    ) => Effect.Effect<PreparedWorkspace, WorkspaceError>;
    /** The same on the container's own disk, which this worker then uses until it ends. */
    readonly fallBackToOwnDisk: (
      requirements: ReadonlyArray<string>,
    ) => Effect.Effect<PreparedWorkspace, WorkspaceError>;
    /**
     * To be called after packages were added to a virtual environment: returns it with a new generation, which
     * `ready` has from then on too if that environment is the current one.
     */
    readonly packagesAdded: (prepared: PreparedWorkspace) => Effect.Effect<PreparedWorkspace>;
    /** How full the disks are that it can use, and with what, in lines. */
    readonly usage: Effect.Effect<string>;
  }
>()("worker-tetra/workspace/Workspace") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const path = yield* Path.Path;
      const volume = yield* Volume;
      const venvs = yield* VenvBuilder;
      const lock = yield* BlockingLock;
      const locks = yield* FileLock;
      const disks = yield* DiskUsage;
      const environment = yield* Environment;
      const lastStart = yield* LastStart;
      const appPath = yield* APP_PATH.value;
      const layerScope = yield* Effect.scope;
      const turn = Semaphore.makeUnsafe(1);

      interface State {
        readonly place: Place;
        readonly venv: Venv;
        readonly prepared: PreparedWorkspace;
        checkedAt: number;
      }
      let state: State | undefined;
      const generation = yield* Ref.make(0);
      const nextGeneration = Ref.updateAndGet(generation, (number) => number + 1);
      /** Why the network volume did not serve. */
      let trouble: string | null = null;

      /**
       * Shared locks that keep environments from being removed, by their folders, the one used last at the end:
       * Python processes may still run from those that were left.
       */
      const holds = new Map<string, Scope.Closeable>();

      const release = Effect.fnUntraced(function* (prefix: string) {
        const scope = holds.get(prefix);
        holds.delete(prefix);
        if (scope !== undefined) yield* Scope.close(scope, Exit.void);
      });

      /** Held by everybody who runs from the environment; where locks are no use, nothing is removed either. */
      const hold = Effect.fnUntraced(function* (venv: Venv) {
        const { prefix } = venv;
        const earlier = holds.get(prefix);
        if (earlier !== undefined) {
          if (!(yield* venvs.isWhole(venv))) return false;
          holds.delete(prefix);
          holds.set(prefix, earlier);
          return true;
        }
        const scope = yield* Scope.fork(layerScope);
        const held = yield* locks.tryLock(lockOf(prefix), "shared").pipe(
          Scope.provide(scope),
          Effect.map(Option.isSome),
          Effect.catchTag("LockUnavailable", (error) =>
            Effect.as(Effect.logDebug(error.message), true),
          ),
        );
        if (!held || !(yield* venvs.isWhole(venv))) {
          yield* Scope.close(scope, Exit.void);
          return false;
        }
        holds.set(prefix, scope);
        for (const old of [...holds.keys()].slice(0, -HELD)) yield* release(old);
        return true;
      });

      /** Removes environments that nobody wants and nobody runs from. */
      const sweep = Effect.fn("Workspace.sweep")(function* (place: Place) {
        for (const { prefix } of yield* venvs.surplus(place)) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const held = yield* locks.tryLock(lockOf(prefix), "exclusive");
              if (Option.isNone(held)) return;
              yield* removeWhole(files, prefix);
            }),
          ).pipe(Effect.catch((error) => Effect.logDebug(`${prefix} stays: ${error.message}`)));
        }
      });

      /** Does something under the place's lock, unless `settled` has a value first. */
      const locked = <A, E>(
        place: Place,
        settled: Effect.Effect<Option.Option<A>, E>,
        otherwise: Effect.Effect<A, VenvError>,
      ) =>
        Effect.scoped(
          Effect.gen(function* () {
            const file = path.join(place.directory, ".initialization.lock");
            const patience = place.shared ? 0 : OWN_PATIENCE;
            const others = yield* lock.acquireUnless(file, settled, patience);
            if (others._tag === "Settled") return [others.value, true] as const;
            return [yield* otherwise, false] as const;
          }),
        );

      const build = (place: Place, requirements: ReadonlyArray<string>, cache?: boolean) =>
        Effect.tap(venvs.build(place, requirements, cache), () => sweep(place));

      /** Finds an environment, or builds one under the lock. */
      const obtain = Effect.fn("Workspace.obtain")(function* (
        place: Place,
        rebuilding: ReadonlyArray<string> | undefined,
      ) {
        const found = venvs.find(place);
        const first = yield* found;
        if (Option.isSome(first)) return [first.value, "reused"] as const;
        const [venv, byOther] = yield* locked(place, found, build(place, rebuilding ?? []));
        if (byOther) return [venv, "initialized by another worker"] as const;
        return [venv, rebuilding === undefined ? "created" : "rebuilt"] as const;
      });

      /** Programs of jobs need a folder for temporary files, which a read-only container does not have. */
      const temporaryFolder = Effect.fnUntraced(
        function* ({ directory }: Place) {
          if (yield* isWritable(files, tmpdir())) return {};
          const folder = path.join(directory, ".tmp");
          yield* files.makeDirectory(folder, { recursive: true });
          yield* Effect.logWarning(`${tmpdir()} can't be written to: jobs get TMPDIR=${folder}`);
          return { TMPDIR: folder };
        },
        Effect.catch((error) =>
          Effect.as(
            Effect.logWarning(diskFault(tmpdir(), "can't be written to")(error).message),
            {},
          ),
        ),
      );

      /** Takes an environment for this worker's own, unless it is gone by now. */
      const take = Effect.fn("Workspace.take")(function* (place: Place, venv: Venv) {
        if (!(yield* hold(venv))) return Option.none<PreparedWorkspace>();
        const variables = {
          ...jobEnvironment(environment, place, venv.prefix),
          ...(yield* temporaryFolder(place)),
        };
        yield* Effect.all(
          [
            Effect.catch(venvs.publish(place, venv), (error) => Effect.logWarning(error.message)),
            linkApp(files, appPath, place.directory),
            linkModels(files, place, variables),
          ],
          { concurrency: "unbounded" },
        );
        const prepared: PreparedWorkspace = {
          directory: place.directory,
          python: venv.python,
          prefix: venv.prefix,
          version: venv.version,
          basePython: venv.base.executable,
          environment: variables,
          venv,
          generation: yield* nextGeneration,
        };
        const checkedAt = yield* Clock.currentTimeMillis;
        state = { place, venv, checkedAt, prepared };
        return Option.some(prepared);
      });

      const enter = Effect.fn("Workspace.enter")(function* (
        place: Place,
        rebuilding?: ReadonlyArray<string>,
      ) {
        const started = yield* Clock.currentTimeMillis;
        yield* files
          .makeDirectory(place.directory, { recursive: true })
          .pipe(Effect.mapError(diskFault(place.directory, "can't be made")));
        for (let tries = 1; ; tries += 1) {
          const [venv, origin] = yield* obtain(place, rebuilding);
          const prepared = yield* take(place, venv);
          if (Option.isSome(prepared)) {
            yield* tell(place, venv, origin, (yield* Clock.currentTimeMillis) - started);
            return prepared.value;
          }
          if (tries < FIND_TRIES) continue;
          return yield* new DiskFault({
            path: venv.prefix,
            code: "ESTALE",
            problem: "vanishes each time that it is about to be used",
            detail: "other workers keep removing it",
          });
        }
      });

      const tell = Effect.fnUntraced(function* (
        place: Place,
        venv: Venv,
        origin: Origin,
        milliseconds: number,
      ) {
        if (origin === "reused") yield* Metric.update(venvsReused, 1);
        if (origin === "rebuilt") yield* Metric.update(venvsRebuilt, 1);
        const message = `Workspace ${place.directory}: virtual environment ${path.basename(venv.prefix)} ${origin} in ${(milliseconds / 1000).toFixed(2)} s`;
        const told = `${message} (${yield* figures})`;
        yield* origin === "reused" ? Effect.logDebug(told) : Effect.logInfo(told);
        // Nobody waits for it.
        yield* Effect.forkIn(
          lastStart.note(place, {
            workspace: place.directory,
            shared: place.shared,
            environment: path.basename(venv.prefix),
            python: venv.version,
            origin,
            seconds: milliseconds / 1000,
            trouble,
          }),
          layerScope,
        );
      });

      const prepare = Effect.fn("Workspace.prepare")(function* () {
        const warned = (why: string) => {
          trouble = why;
          return Effect.as(
            Effect.logWarning(
              `${why}\nThis worker goes on in ${volume.own.directory}, on its own disk.`,
            ),
            Option.none<PreparedWorkspace>(),
          );
        };
        const shared = yield* Effect.catch(volume.shared, (error) =>
          Effect.as(warned(error.message), Option.none<Place>()),
        );
        if (Option.isSome(shared)) {
          const prepared = yield* Effect.catchIf(
            Effect.asSome(enter(shared.value)),
            isAboutPlace,
            (error) => warned(error.message),
          );
          if (Option.isSome(prepared)) return prepared.value;
        }
        return yield* enter(volume.own);
      });

      /** Goes over to a new environment in a place. */
      const settle = Effect.fn("Workspace.settle")(function* (
        place: Place,
        requirements: ReadonlyArray<string>,
        cache?: boolean,
      ) {
        yield* files
          .makeDirectory(place.directory, { recursive: true })
          .pipe(Effect.mapError(diskFault(place.directory, "can't be made")));
        const [venv] = yield* locked(place, Effect.succeedNone, build(place, requirements, cache));
        const prepared = yield* take(place, venv);
        return Option.isSome(prepared) ? prepared.value : yield* enter(place);
      });

      /** The state as it is known, if its facts still hold. */
      const confirmed = Effect.fnUntraced(function* () {
        if (state === undefined) return undefined;
        const isThere = yield* Effect.orElseSucceed(
          files.exists(state.place.directory),
          () => false,
        );
        if (!isThere || !(yield* venvs.isWhole(state.venv))) return undefined;
        state.checkedAt = yield* Clock.currentTimeMillis;
        return state.prepared;
      });

      const leave = Effect.suspend(() => {
        const prefix = state?.venv.prefix;
        state = undefined;
        return prefix === undefined ? Effect.void : release(prefix);
      });

      const established = Effect.fn("Workspace.ready")(function* () {
        const known = yield* confirmed();
        if (known !== undefined) return known;
        return yield* turn.withPermit(
          Effect.gen(function* () {
            const meanwhile = yield* confirmed();
            if (meanwhile !== undefined) return meanwhile;
            yield* leave;
            return yield* prepare();
          }),
        );
      });

      /** On the path of every call: facts that were seen just now are not looked at again. */
      const ready = Effect.clockWith((clock) =>
        state !== undefined && clock.currentTimeMillisUnsafe() - state.checkedAt < FACTS_AGE
          ? Effect.succeed(state.prepared)
          : established(),
      );

      const packagesAdded = Effect.fnUntraced(function* (prepared: PreparedWorkspace) {
        const updated = { ...prepared, generation: yield* nextGeneration };
        if (state?.venv.prefix === prepared.prefix) state = { ...state, prepared: updated };
        return updated;
      });

      return Workspace.of({
        ready,
        rebuild: (evidence) =>
          turn.withPermit(
            Effect.gen(function* () {
              if (state === undefined) return yield* prepare();
              const { place, venv } = state;
              yield* Effect.logWarning(
                `The virtual environment ${venv.prefix} is broken (${evidence}); a new one takes its place`,
              );
              const requirements = yield* venvs.requirements(venv);
              yield* venvs.condemn(venv);
              yield* leave;
              return yield* enter(place, requirements);
            }),
          ),
        listVenvs: Effect.suspend(() =>
          state === undefined ? Effect.succeed([]) : venvs.all(state.place),
        ),
        activate: (venv) =>
          turn.withPermit(
            Effect.gen(function* () {
              if (state === undefined || !(yield* venvs.canBeTaken(venv))) return Option.none();
              return yield* take(state.place, venv);
            }),
          ),
        extend: (requirements, cache) =>
          turn.withPermit(
            Effect.suspend(() => settle(state?.place ?? volume.own, requirements, cache)),
          ),
        fallBackToOwnDisk: (requirements) => turn.withPermit(settle(volume.own, requirements)),
        packagesAdded,
        usage: Effect.gen(function* () {
          const places = new Set([state?.place ?? volume.own, volume.own]);
          const reports = yield* Effect.forEach(places, ({ directory, caches }) =>
            disks.report(
              directory,
              [".venvs", ...CACHES].map((name) =>
                path.join(name === ".venvs" ? directory : caches, name),
              ),
            ),
          );
          return reports.join("\n");
        }),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([
      Volume.layer,
      VenvBuilder.layer,
      BlockingLock.layer,
      FileLock.layer,
      DiskUsage.layer,
      LastStart.layer,
    ]),
    Layer.provide(safeFileSystem),
  );
}
