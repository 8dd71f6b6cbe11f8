import { createHash } from "node:crypto";

import { Clock, Context, Effect, Layer, Option, Path, Semaphore } from "effect";

import { type LockTimeout, BlockingLock } from "../platform/BlockingLock.ts";
import type { HeldLock, LockUnavailable } from "../platform/FileLock.ts";
import { DiskFault } from "../platform/files/DiskFault.ts";
import { withoutCredentials } from "../settings/Credentials.ts";
import type { Venv } from "../venv/Venv.ts";
import { VenvBuilder } from "../venv/VenvBuilder.ts";
import type { UvUnavailable } from "../venv/uv/UvInstallation.ts";
import { type PreparedWorkspace, Workspace, type WorkspaceError } from "../workspace/Workspace.ts";
import { INSTALL_TIMEOUT } from "./InstallTimeout.ts";
import { pythonRequirements, type RequirementRejected } from "./Requirement.ts";
import { Pip, type PipOptions, type Plan } from "./pip/Pip.ts";
import { PythonInstallFailed } from "./pip/PythonInstallFailed.ts";

export type PythonPackagesError =
  | RequirementRejected
  | PythonInstallFailed
  | UvUnavailable
  | DiskFault
  | LockTimeout
  | LockUnavailable
  | WorkspaceError;

/** What was seen so long ago is looked at again, in milliseconds. */
const FACTS_AGE = 1000;

/** The most lists of requirements that are remembered as satisfied; the oldest is dropped first. */
const LISTS_REMEMBERED = 64;

/** More space may be had without a cache, or elsewhere. */
const isFull = (error: PythonPackagesError): boolean =>
  (error._tag === "PythonInstallFailed" && error.reason === "full") ||
  (error._tag === "DiskFault" && (error.code === "ENOSPC" || error.code === "EDQUOT"));

/** What installing would do, as seen without a lock, and when the environment had changed last. */
interface Foreseen {
  readonly venv: Venv;
  readonly changed: number;
  readonly plan: Plan;
}

const shown = (requirements: ReadonlyArray<string>): string =>
  requirements.map(withoutCredentials).join(", ");

/**
 * Python packages by uv. What only adds goes into the environment that is there; what would change or remove
 * a package goes into another one, so that nothing changes under a job that runs.
 */
export class PythonPackages extends Context.Service<
  PythonPackages,
  {
    /** Returns the workspace that satisfies the requirements: the given one if nothing had to be installed. */
    readonly ensure: (
      requirements: ReadonlyArray<string>,
      prepared: PreparedWorkspace,
    ) => Effect.Effect<PreparedWorkspace, PythonPackagesError>;
  }
>()("worker-tetra/dependencies/PythonPackages") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const workspace = yield* Workspace;
      const venvs = yield* VenvBuilder;
      const lock = yield* BlockingLock;
      const pip = yield* Pip;
      const path = yield* Path.Path;
      const timeout = yield* INSTALL_TIMEOUT.value;
      const turn = Semaphore.makeUnsafe(1);

      interface Satisfied {
        readonly venv: Venv;
        /** When its packages had changed last. */
        readonly changed: number;
        /** The generation of the workspace that first had them. */
        readonly generation: number;
        /** When that was seen last. */
        seen: number;
      }
      /** Which environment satisfied a list. */
      const satisfied = new Map<string, Satisfied>();

      /**
       * The workspace has a new generation also when the packages were found installed: another worker may have just
       * installed them.
       */
      const remember = Effect.fnUntraced(function* (key: string, prepared: PreparedWorkspace) {
        const updated = yield* workspace.packagesAdded(prepared);
        const { venv, generation } = updated;
        const changed = yield* venvs.changedAt(venv);
        const seen = yield* Clock.currentTimeMillis;
        satisfied.delete(key);
        if (Option.isSome(changed)) {
          satisfied.set(key, { venv, changed: changed.value, generation, seen });
        }
        for (const old of [...satisfied.keys()].slice(0, -LISTS_REMEMBERED)) satisfied.delete(old);
        return updated;
      });

      /** What is known of the environment that satisfies a list, if it is as it was. */
      const known = Effect.fnUntraced(function* (key: string) {
        const memo = satisfied.get(key);
        if (memo === undefined) return undefined;
        const now = yield* Clock.currentTimeMillis;
        if (now - memo.seen < FACTS_AGE) return memo;
        if (!Option.contains(yield* venvs.changedAt(memo.venv), memo.changed)) return undefined;
        memo.seen = now;
        return memo;
      });

      /**
       * What installing into an environment would do. What can't be had there may be in another one, where it
       * came with the image.
       */
      const planFor = (...of: Parameters<typeof pip.plan>) =>
        pip.plan(...of).pipe(
          Effect.catchIf(
            (error) =>
              error._tag === "PythonInstallFailed" &&
              (error.reason === "unknown" || error.reason === "conflicting"),
            (error) =>
              Effect.flatMap(venvs.replacesImage(of[1]), (replaces) =>
                replaces ? Effect.succeed("changes" as const) : Effect.fail(error),
              ),
          ),
        );

      /** Looks without a lock, which tells the truth where nobody is at work and nothing changes meanwhile. */
      const foresee = Effect.fn("PythonPackages.foresee")(function* (
        prepared: PreparedWorkspace,
        requirements: ReadonlyArray<string>,
        options: PipOptions,
      ) {
        const { venv } = prepared;
        const quiet = Effect.gen(function* () {
          if (yield* venvs.isInstalling(venv)) return undefined;
          return Option.getOrUndefined(yield* venvs.changedAt(venv));
        });
        const changed = yield* quiet;
        if (changed === undefined) return undefined;
        const plan = yield* planFor(prepared, venv, requirements, options);
        if ((yield* quiet) !== changed) return undefined;
        const foreseen: Foreseen = { venv, changed, plan };
        return foreseen;
      });

      const add = Effect.fn("PythonPackages.add")(function* (
        prepared: PreparedWorkspace,
        venv: Venv,
        requirements: ReadonlyArray<string>,
        options: PipOptions,
      ) {
        const started = yield* Clock.currentTimeMillis;
        yield* Effect.logInfo(`Installing ${shown(requirements)}`);
        const before = yield* venvs.requirements(venv);
        const changed = yield* venvs.changedAt(venv);
        yield* venvs.beginInstall(venv);
        yield* pip.install(prepared, venv, requirements, options).pipe(
          // It failed or was called off, and had not begun to change anything: the environment is as it was.
          Effect.onError(() =>
            Effect.gen(function* () {
              const now = Option.getOrUndefined(yield* venvs.changedAt(venv));
              if (Option.contains(changed, now)) yield* venvs.endInstall(venv, before);
            }).pipe(Effect.catch((error) => Effect.logWarning(error.message))),
          ),
        );
        yield* venvs.endInstall(venv, [...new Set([...before, ...requirements])]);
        const seconds = ((yield* Clock.currentTimeMillis) - started) / 1000;
        yield* Effect.logInfo(`Installed ${shown(requirements)} in ${seconds.toFixed(2)} s`);
      });

      /** A new environment for a list, with what the given one had where the two agree. */
      const renew = Effect.fn("PythonPackages.renew")(function* (
        requirements: ReadonlyArray<string>,
        before: ReadonlyArray<string>,
        where: (list: ReadonlyArray<string>) => ReturnType<Workspace["Service"]["extend"]>,
      ) {
        const both = [...new Set([...before, ...requirements])];
        return yield* where(both).pipe(
          Effect.catchTag("VenvCreationFailed", (error) =>
            both.length === requirements.length ? Effect.fail(error) : where(requirements),
          ),
          Effect.catchTag("VenvCreationFailed", ({ output }) =>
            Effect.fail(PythonInstallFailed.from(requirements, output)),
          ),
        );
      });

      /** Under the lock: by the cheapest way that leaves running jobs alone. */
      const provide = Effect.fn("PythonPackages.provide")(function* (
        requirements: ReadonlyArray<string>,
        foreseen: Foreseen | undefined,
        options: PipOptions,
      ) {
        const prepared = yield* workspace.ready;
        const { venv, prefix } = prepared;
        const anew = (before: ReadonlyArray<string>) =>
          renew(requirements, before, (list) => workspace.extend(list, options.cache));
        if (yield* venvs.isInstalling(venv)) {
          yield* Effect.logWarning(
            `An install into ${prefix} was cut off; a new environment takes its place`,
          );
          yield* venvs.invalidate(venv);
          return yield* anew(yield* venvs.requirements(venv));
        }
        const isAsSeen =
          foreseen !== undefined &&
          foreseen.venv.prefix === prefix &&
          Option.contains(yield* venvs.changedAt(venv), foreseen.changed);
        const plan = isAsSeen
          ? foreseen.plan
          : yield* planFor(prepared, venv, requirements, options);
        if (plan === "nothing") return prepared;
        if (plan === "additions") {
          yield* add(prepared, venv, requirements, options);
          return prepared;
        }
        for (const other of yield* workspace.listVenvs) {
          if (other.prefix === prefix || (yield* venvs.isInstalling(other))) continue;
          const otherPlan = yield* planFor(prepared, other, requirements, options);
          if (otherPlan === "changes") continue;
          if (otherPlan === "additions") yield* add(prepared, other, requirements, options);
          const used = yield* workspace.activate(other);
          if (Option.isSome(used)) return used.value;
        }
        yield* Effect.logInfo(
          `${shown(requirements)} would change packages of ${prefix}; a new environment is built`,
        );
        return yield* anew([]);
      });

      /** The environment that is known to satisfy a list is that of the given workspace, or becomes the current one. */
      const settledFor = Effect.fnUntraced(function* (key: string, prepared: PreparedWorkspace) {
        const memo = yield* known(key);
        if (memo === undefined) return Option.none();
        if (memo.venv.prefix !== prepared.prefix) return yield* workspace.activate(memo.venv);
        // Another job may have installed the list since the workspace was looked up for this one.
        return Option.some(
          prepared.generation < memo.generation
            ? { ...prepared, generation: memo.generation }
            : prepared,
        );
      });

      const install = Effect.fn("PythonPackages.install")(function* (
        key: string,
        requirements: ReadonlyArray<string>,
        cache: boolean,
      ) {
        const prepared = yield* workspace.ready;
        const file = path.join(path.dirname(prepared.prefix), ".install.lock");
        const foreseen = yield* foresee(prepared, requirements, { cache });
        if (foreseen?.plan === "nothing") {
          return yield* remember(key, prepared);
        }
        const settled = Effect.flatMap(workspace.ready, (current) => settledFor(key, current));
        const acquired = yield* lock.acquireUnless(file, settled, timeout);
        if (acquired._tag === "Settled") return acquired.value;
        const held: HeldLock = acquired.lock;
        const provided = yield* provide(requirements, foreseen, {
          cache,
          descriptor: held.descriptor,
        });
        return yield* remember(key, provided);
      }, Effect.scoped);

      /** Where space ran out: without the cache, then on the container's own disk, or a report of what is where. */
      const installSomewhere = Effect.fnUntraced(function* (
        key: string,
        requirements: ReadonlyArray<string>,
      ): Effect.fn.Return<PreparedWorkspace, PythonPackagesError> {
        const first = yield* Effect.result(install(key, requirements, true));
        if (first._tag === "Success") return first.success;
        if (!isFull(first.failure)) return yield* first.failure;
        yield* Effect.logWarning(`${first.failure.message}\nIt is tried again without the cache.`);
        const second = yield* Effect.result(install(key, requirements, false));
        if (second._tag === "Success") return second.success;
        if (!isFull(second.failure)) return yield* second.failure;
        const usage = yield* workspace.usage;
        const before = yield* venvs.requirements((yield* workspace.ready).venv);
        const third = yield* Effect.result(
          renew(requirements, before, workspace.fallBackToOwnDisk),
        );
        if (third._tag === "Success") {
          yield* Effect.logWarning(
            `The packages are on the container's own disk, since the volume is full, and have to be installed anew in the next container. Free some space or enlarge the volume.\n${usage}`,
          );
          return yield* remember(key, third.success);
        }
        if (!isFull(third.failure)) return yield* third.failure;
        return yield* new PythonInstallFailed({ requirements, reason: "full", output: usage });
      });

      const ensure = Effect.fn("PythonPackages.ensure")(function* (
        names: ReadonlyArray<string>,
        prepared: PreparedWorkspace,
      ) {
        const requirements = yield* pythonRequirements(names);
        if (requirements.length === 0) return prepared;
        const key = createHash("sha256").update(JSON.stringify(requirements)).digest("base64");
        const settled = yield* settledFor(key, prepared);
        if (Option.isSome(settled)) return settled.value;
        return yield* turn.withPermit(
          Effect.timeoutOrElse(installSomewhere(key, requirements), {
            duration: timeout,
            orElse: () =>
              Effect.fail(new PythonInstallFailed({ requirements, reason: "late", output: "" })),
          }),
        );
      });

      return PythonPackages.of({ ensure });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([Workspace.layer, VenvBuilder.layer, BlockingLock.layer, Pip.layer]),
  );
}
