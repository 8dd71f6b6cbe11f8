import { Context, Effect, FileSystem, Layer, Option, Path, Schema, Semaphore } from "effect";

import * as Setting from "../settings/Setting.ts";
import type { DiskFault } from "../workspace/DiskFault.ts";
import type { LockUnavailable } from "../workspace/FileLock.ts";
import { type ProgramFailed, Programs } from "../workspace/Programs.ts";
import { Uv, type UvUnavailable } from "../workspace/Uv.ts";
import { type Venv, VirtualEnvironment } from "../workspace/VirtualEnvironment.ts";
import { type PreparedWorkspace, Workspace, type WorkspaceError } from "../workspace/Workspace.ts";
import { type LockTimeout, WorkspaceLock } from "../workspace/WorkspaceLock.ts";
import { pythonRequirements, type RequirementRejected } from "./Requirement.ts";

const INSTALL_TIMEOUT = Setting.seconds({
  name: "WORKER_INSTALL_TIMEOUT",
  doc: "How long the packages of a job may take to be installed, waiting for other workers included.",
  minimum: 1,
  fallback: 1800,
});

/** The last lines of a tool say what went wrong. */
const WORDS_SHOWN = 30;

const REASONS = {
  unknown: "no index has it, or not in that version",
  conflicting: "the requirements contradict each other",
  unreachable: "the package index or the address can't be reached",
  unbuildable: "it has to be built here, and that fails",
  full: "the disk is full, or the volume's quota used up",
  late: "it took longer than WORKER_INSTALL_TIMEOUT allows",
  other: "uv failed",
} as const;
type Reason = keyof typeof REASONS;

/** What a job asks for could not be installed. */
export class PythonInstallFailed extends Schema.TaggedError<PythonInstallFailed>()(
  "PythonInstallFailed",
  {
    requirements: Schema.Array(Schema.String),
    reason: Schema.Literals([
      "unknown",
      "conflicting",
      "unreachable",
      "unbuildable",
      "full",
      "late",
      "other",
    ]),
    /** uv's own last words. */
    output: Schema.String,
  },
) {
  override get message(): string {
    const said = this.output.trim().split("\n").slice(-WORDS_SHOWN).join("\n");
    return `The packages ${this.requirements.join(", ")} could not be installed: ${REASONS[this.reason]}.${said === "" ? "" : `\n${said}`}`;
  }
}

const reasonOf = (output: string): Reason => {
  if (/No space left|Disk quota exceeded/i.test(output)) return "full";
  if (/Failed to build|build backend|compil/i.test(output)) return "unbuildable";
  if (
    /was not found in the package registry|there (?:is|are) no versions? of|only .* is available/.test(
      output,
    )
  ) {
    return "unknown";
  }
  if (/No solution found|unsatisfiable|conflict/i.test(output)) return "conflicting";
  if (
    /error sending request|Failed to (?:fetch|download)|dns error|timed out|Connection/i.test(
      output,
    )
  ) {
    return "unreachable";
  }
  return "other";
};

const decodeChanges = Schema.decodeUnknownOption(
  Schema.fromJsonString(
    Schema.Struct({
      changes: Schema.Array(Schema.Struct({ name: Schema.String, action: Schema.String })),
    }),
  ),
);

export type PythonPackagesError =
  | RequirementRejected
  | PythonInstallFailed
  | UvUnavailable
  | DiskFault
  | LockTimeout
  | LockUnavailable
  | WorkspaceError;

/** What an install would do to an environment. */
type Plan = "nothing" | "additions" | "changes";

/**
 * Python packages by uv. What only adds goes into the environment that is there; what would change or remove
 * a package goes into another one, so that nothing changes under a job that runs.
 */
export class PythonPackages extends Context.Service<
  PythonPackages,
  {
    /** Sees to it that the workspace satisfies the requirements; true when something was added to it. */
    readonly ensure: (
      requirements: ReadonlyArray<string>,
    ) => Effect.Effect<boolean, PythonPackagesError>;
  }
>()("worker-tetra/dependencies/PythonPackages") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const workspace = yield* Workspace;
      const venvs = yield* VirtualEnvironment;
      const lock = yield* WorkspaceLock;
      const uv = yield* Uv;
      const programs = yield* Programs;
      const files = yield* FileSystem.FileSystem;
      const path = yield* Path.Path;
      const timeout = yield* INSTALL_TIMEOUT.value;
      const turn = Semaphore.makeUnsafe(1);

      /** Which environment satisfied a list, as of which state of its packages. */
      const satisfied = new Map<string, { readonly venv: Venv; readonly changed: number }>();

      /** When packages of an environment last came or went, in milliseconds. */
      const changedAt = Effect.fnUntraced(
        function* (venv: Venv) {
          const [major, minor] = venv.version.split(".");
          const folder = path.join(venv.prefix, "lib", `python${major}.${minor}`, "site-packages");
          const { mtime } = yield* files.stat(folder);
          return Option.match(mtime, { onNone: () => 0, onSome: (date) => date.getTime() });
        },
        Effect.orElseSucceed(() => -1),
      );

      const remember = Effect.fnUntraced(function* (key: string, venv: Venv) {
        satisfied.set(key, { venv, changed: yield* changedAt(venv) });
      });

      /** The environment that is known to satisfy a list, if it is as it was. */
      const known = Effect.fnUntraced(function* (key: string) {
        const memo = satisfied.get(key);
        if (memo === undefined || (yield* changedAt(memo.venv)) !== memo.changed) return undefined;
        return memo.venv;
      });

      const pip = Effect.fnUntraced(function* (
        { environment, directory }: PreparedWorkspace,
        venv: Venv,
        requirements: ReadonlyArray<string>,
        options: ReadonlyArray<string>,
      ) {
        const command = yield* uv.command;
        const output = yield* programs
          .run(
            command,
            [
              "pip",
              "install",
              "--python",
              venv.python,
              "--output-format",
              "json",
              ...options,
              "--",
              ...requirements,
            ],
            { directory, environment: { ...environment, UV_PYTHON_DOWNLOADS: "never" } },
          )
          .pipe(
            Effect.mapError(
              (error: ProgramFailed) =>
                new PythonInstallFailed({
                  requirements,
                  reason: reasonOf(error.output),
                  output: error.output,
                }),
            ),
          );
        return Option.match(decodeChanges(output), {
          onNone: () => [],
          onSome: ({ changes }) => changes,
        });
      });

      const planFor = Effect.fn("PythonPackages.plan")(function* (
        prepared: PreparedWorkspace,
        venv: Venv,
        requirements: ReadonlyArray<string>,
      ) {
        const changes = yield* pip(prepared, venv, requirements, ["--dry-run"]);
        const plan: Plan =
          changes.length === 0
            ? "nothing"
            : changes.every(({ action }) => action === "installed")
              ? "additions"
              : "changes";
        return plan;
      });

      const add = Effect.fn("PythonPackages.add")(function* (
        prepared: PreparedWorkspace,
        venv: Venv,
        requirements: ReadonlyArray<string>,
      ) {
        yield* Effect.logInfo(`Installing ${requirements.join(", ")}`);
        const before = yield* venvs.requirements(venv);
        const state = yield* changedAt(venv);
        yield* venvs.beginInstall(venv);
        yield* pip(prepared, venv, requirements, []).pipe(
          // uv failed by itself and had not begun to change anything: the environment is as it was.
          Effect.tapError(() =>
            Effect.gen(function* () {
              if ((yield* changedAt(venv)) === state) yield* venvs.endInstall(venv, before);
            }),
          ),
        );
        yield* venvs.endInstall(venv, [...new Set([...before, ...requirements])]);
      });

      /** A new environment for a list, with what the given one had where the two agree. */
      const renew = Effect.fn("PythonPackages.renew")(function* (
        requirements: ReadonlyArray<string>,
        before: ReadonlyArray<string>,
      ) {
        const both = [...new Set([...before, ...requirements])];
        return yield* workspace.extend(both).pipe(
          Effect.catchTag("VenvCreationFailed", (error) =>
            both.length === requirements.length
              ? Effect.fail(error)
              : workspace.extend(requirements),
          ),
          Effect.catchTag("VenvCreationFailed", ({ output }) =>
            Effect.fail(
              new PythonInstallFailed({ requirements, reason: reasonOf(output), output }),
            ),
          ),
        );
      });

      /** Under the lock: by the cheapest way that leaves running jobs alone. */
      const provide = Effect.fn("PythonPackages.provide")(function* (
        requirements: ReadonlyArray<string>,
      ) {
        const prepared = yield* workspace.ready;
        if (yield* venvs.isInstalling(prepared.venv)) {
          yield* Effect.logWarning(
            `An install into ${prepared.prefix} was cut off; a new environment takes its place`,
          );
          yield* venvs.condemn(prepared.venv);
          const before = yield* venvs.requirements(prepared.venv);
          return { venv: (yield* renew(requirements, before)).venv, added: false };
        }
        const plan = yield* planFor(prepared, prepared.venv, requirements);
        if (plan === "nothing") return { venv: prepared.venv, added: false };
        if (plan === "additions") {
          yield* add(prepared, prepared.venv, requirements);
          return { venv: prepared.venv, added: true };
        }
        for (const venv of yield* workspace.environments) {
          if (venv.prefix === prepared.prefix || (yield* venvs.isInstalling(venv))) continue;
          const other = yield* planFor(prepared, venv, requirements);
          if (other === "changes") continue;
          if (other === "additions") yield* add(prepared, venv, requirements);
          if (Option.isSome(yield* workspace.use(venv))) return { venv, added: false };
        }
        yield* Effect.logInfo(
          `${requirements.join(", ")} would change packages of ${prepared.prefix}; a new environment is built`,
        );
        return { venv: (yield* renew(requirements, [])).venv, added: false };
      });

      const ensure = Effect.fn("PythonPackages.ensure")(function* (names: ReadonlyArray<string>) {
        const requirements = yield* pythonRequirements(names);
        if (requirements.length === 0) return false;
        const key = JSON.stringify(requirements);
        const settled = Effect.gen(function* () {
          const prepared = yield* workspace.ready;
          const venv = yield* known(key);
          if (venv === undefined) return Option.none();
          if (venv.prefix === prepared.prefix) return Option.some(false);
          return Option.map(yield* workspace.use(venv), () => false);
        });
        const early = yield* settled;
        if (Option.isSome(early)) return early.value;
        return yield* turn.withPermit(
          Effect.scoped(
            Effect.gen(function* () {
              const { prefix } = yield* workspace.ready;
              const file = path.join(path.dirname(prefix), ".install.lock");
              const meanwhile = yield* lock.acquireUnless(file, settled, timeout);
              if (Option.isSome(meanwhile)) return meanwhile.value;
              const { venv, added } = yield* provide(requirements);
              yield* remember(key, venv);
              return added;
            }),
          ).pipe(
            Effect.timeoutOrElse({
              duration: { seconds: timeout },
              orElse: () =>
                Effect.fail(new PythonInstallFailed({ requirements, reason: "late", output: "" })),
            }),
          ),
        );
      });

      return PythonPackages.of({ ensure });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([
      Workspace.layer,
      VirtualEnvironment.layer,
      WorkspaceLock.layer,
      Uv.layer,
      Programs.layer,
    ]),
  );
}
