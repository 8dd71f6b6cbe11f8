import { Context, Effect, Layer, Option, Schema } from "effect";

import type { ProgramFailed } from "../../platform/programs/Programs.ts";
import { InstallCheck } from "../../venv/InstallCheck.ts";
import { Uv } from "../../venv/Uv.ts";
import type { Venv } from "../../venv/Venv.ts";
import type { UvUnavailable } from "../../venv/uv/UvInstallation.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import { PythonInstallFailed } from "./PythonInstallFailed.ts";

/** What an install would do to a venv: nothing, only add packages, or change or remove some. */
export type Plan = "nothing" | "additions" | "changes";

export interface PipOptions {
  /** Whether uv may use its cache. */
  readonly cache: boolean;
}

type PipEffect<A> = Effect.Effect<A, PythonInstallFailed | UvUnavailable>;

/** A package that an install would change. */
const Change = Schema.Struct({
  name: Schema.String,
  version: Schema.String,
  action: Schema.String,
});
export type Change = typeof Change.Type;

/** The output of `uv pip install --dry-run --output-format json`; none if the format is unknown. */
const decodeChanges = Schema.decodeUnknownOption(
  Schema.fromJsonString(Schema.Struct({ changes: Schema.Array(Change) })),
);

/** uv's error message if a file is missing in its cache and the network is disabled. */
const NETWORK_DISABLED = /network (?:connectivity is|was) disabled/i;

const planOf = (changes: ReadonlyArray<Change>): Plan => {
  if (changes.length === 0) return "nothing";
  return changes.every(({ action }) => action === "installed") ? "additions" : "changes";
};

/** Environment variables of uv for an install. */
export const uvVariables = (
  { environment }: PreparedWorkspace,
  { cache }: PipOptions,
): Readonly<Record<string, string>> => (cache ? environment : { ...environment, UV_NO_CACHE: "1" });

/** Runs `uv pip install`. Without flags, its output is logged while it runs. */
const pipInstall = Effect.map(Effect.all([Uv, InstallCheck]), ([uv, check]) =>
  Effect.fnUntraced(function* (
    workspace: PreparedWorkspace,
    venv: Venv,
    requirements: ReadonlyArray<string>,
    options: PipOptions,
    flags: ReadonlyArray<string>,
  ) {
    const environment = uvVariables(workspace, options);
    const args = ["pip", "install", "--python", venv.python, ...flags, "--", ...requirements];
    const failed = Effect.fnUntraced(function* ({ output }: ProgramFailed) {
      const isFull = yield* check.isCacheFull(environment);
      return yield* isFull
        ? new PythonInstallFailed({ requirements, reason: "full", output })
        : PythonInstallFailed.from(requirements, output);
    });
    return yield* uv
      .run(args, { environment, live: flags.length === 0 })
      .pipe(Effect.catchTag("ProgramFailed", failed));
  }),
);

/** Runs `uv pip install` for a venv of the workspace. */
export class Pip extends Context.Service<
  Pip,
  {
    /** The packages that an install would change. */
    readonly changes: (
      workspace: PreparedWorkspace,
      venv: Venv,
      requirements: ReadonlyArray<string>,
      options: PipOptions,
    ) => PipEffect<ReadonlyArray<Change>>;
    /** Determines what an install would change. */
    readonly plan: (
      workspace: PreparedWorkspace,
      venv: Venv,
      requirements: ReadonlyArray<string>,
      options: PipOptions,
    ) => PipEffect<Plan>;
    readonly install: (
      workspace: PreparedWorkspace,
      venv: Venv,
      requirements: ReadonlyArray<string>,
      options: PipOptions,
    ) => PipEffect<void>;
  }
>()("worker-tetra/dependencies/pip/Pip") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const run = yield* pipInstall;

      const changes: Pip["Service"]["changes"] = Effect.fn("Pip.plan")(
        function* (workspace, venv, requirements, options) {
          const flags = ["--dry-run", "--output-format", "json"];
          const output = yield* run(workspace, venv, requirements, options, flags);
          const found = decodeChanges(output);
          if (Option.isSome(found)) return found.value.changes;
          return yield* new PythonInstallFailed({
            requirements,
            reason: "other",
            output: "uv printed its plan in an unknown format.",
          });
        },
      );

      const install: Pip["Service"]["install"] = Effect.fn("Pip.install")(
        function* (
          workspace,
          venv,
          requirements,
          options,
        ): Effect.fn.Return<void, PythonInstallFailed | UvUnavailable> {
          const online = Effect.asVoid(run(workspace, venv, requirements, options, []));
          if (!options.cache) return yield* online;
          // The plan has just queried the index. If the cache has all files, the network is not needed again.
          yield* Effect.catchIf(
            run(workspace, venv, requirements, options, ["--offline"]),
            // No retry after other errors, since uv may have been killed during the install.
            (error) => error._tag === "PythonInstallFailed" && NETWORK_DISABLED.test(error.output),
            () => online,
          );
        },
      );

      return Pip.of({
        changes,
        plan: (...given) => Effect.map(changes(...given), planOf),
        install,
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide([Uv.layer, InstallCheck.layer]));
}
