import { Context, Effect, Layer, Option, Ref } from "effect";

import { type ProgramFailed, Programs } from "../platform/programs/Programs.ts";
import { Interpreters } from "./Interpreters.ts";
import { lockedCache } from "./uv/LockedCache.ts";
import { uvEnvironment } from "./uv/UvEnvironment.ts";
import { DIRECTORY, type UvUnavailable } from "./uv/UvInstallation.ts";
import { uvProgram } from "./uv/UvProgram.ts";

/** Options of a run of uv. */
interface UvOptions {
  readonly environment: Readonly<Record<string, string>>;
  /** Logs the output of uv live. */
  readonly live?: boolean;
}

/** On MooseFS, creating a file in uv's cache fails if another host creates it at the same time. */
const isCreationRace = ({ output }: ProgramFailed): boolean =>
  output.includes("File exists (os error 17)");

/** Runs uv. If it is missing, installs it once for all workers of this user. */
export class Uv extends Context.Service<
  Uv,
  {
    /** The command to run. */
    readonly command: Effect.Effect<string, UvUnavailable>;
    /** Runs uv and returns its stdout. Where `setpriv` is available, uv is killed when the worker ends. */
    readonly run: (
      args: ReadonlyArray<string>,
      options: UvOptions,
    ) => Effect.Effect<string, ProgramFailed | UvUnavailable>;
  }
>()("worker-tetra/venv/Uv") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const programs = yield* Programs;
      const { command, verified, likely } = yield* uvProgram;
      const environmentOf = yield* uvEnvironment;
      const withoutLockedCache = yield* lockedCache;
      const isVerified = yield* Ref.make(false);

      const runOnce: Uv["Service"]["run"] = Effect.fnUntraced(function* (args, options) {
        const environment = yield* environmentOf(options.environment);
        const attempt = ([program = "uv", ...before]: ReadonlyArray<string>) =>
          programs
            .run(program, [...before, ...args], {
              directory: DIRECTORY,
              environment,
              ...(options.live === true ? { live: { stream: "stderr", name: "uv" } } : {}),
            })
            .pipe(Effect.retry({ times: 1, while: isCreationRace }));
        const tried = (yield* Ref.get(isVerified)) ? Option.none() : yield* likely;
        if (Option.isNone(tried)) return yield* attempt(yield* verified);
        return yield* Effect.catchTag(
          attempt(tried.value),
          "ProgramFailed",
          Effect.fnUntraced(function* (error) {
            const found = yield* verified;
            yield* Ref.set(isVerified, true);
            return found.join(" ") === tried.value.join(" ") ? yield* error : yield* attempt(found);
          }),
        );
      });

      const run: Uv["Service"]["run"] = Effect.fn("Uv.run")((args, options) =>
        withoutLockedCache(options.environment, (environment) =>
          runOnce(args, { ...options, environment }),
        ),
      );

      return Uv.of({ command, run });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([Programs.layer, Interpreters.layer]),
  );
}
