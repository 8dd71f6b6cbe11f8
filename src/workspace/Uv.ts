import { randomUUID } from "node:crypto";

import { Context, Effect, FileSystem, Layer, Path, Schema } from "effect";

import { Environment } from "../settings/Environment.ts";
import { Programs } from "./Programs.ts";
import { Python } from "./Python.ts";

/** The version that is brought where there is none; the only place that names it. */
const VERSION = "0.13.9";

/** uv is neither there nor could it be brought. */
export class UvUnavailable extends Schema.TaggedError<UvUnavailable>()("UvUnavailable", {
  reason: Schema.String,
}) {
  override get message(): string {
    return `uv, which makes virtual environments, is not on PATH and could not be brought. Install it (pip install uv==${VERSION}), or one of python3-pip and python3-venv so that it can come by itself. ${this.reason}`;
  }
}

/** Finds uv, or brings it once for all workers of this user. */
export class Uv extends Context.Service<
  Uv,
  {
    /** The command to run. */
    readonly command: Effect.Effect<string, UvUnavailable>;
  }
>()("worker-tetra/workspace/Uv") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const programs = yield* Programs;
      const files = yield* FileSystem.FileSystem;
      const path = yield* Path.Path;
      const python = yield* Python;
      const { userCache } = yield* Environment;

      const tools = path.join(userCache, "tools");
      const brought = path.join(tools, `uv-${VERSION}`);
      const ofTools = (folder: string) => path.join(folder, "bin", "uv");
      const isThere = (command: string) =>
        programs.run(command, ["--version"]).pipe(
          Effect.as(true),
          Effect.orElseSucceed(() => false),
        );

      /** Installs uv into the folder with the pip of an interpreter. */
      const install = (interpreter: string, folder: string) =>
        programs.run(interpreter, [
          "-m",
          "pip",
          "install",
          "--quiet",
          "--disable-pip-version-check",
          "--no-input",
          "--no-deps",
          "--only-binary",
          ":all:",
          "--target",
          folder,
          `uv==${VERSION}`,
        ]);

      const bring = Effect.fn("Uv.bring")(function* () {
        const { executable } = yield* python.base;
        // Several workers may do this at once: each has a folder of its own, and one of them gets the name.
        const folder = path.join(tools, `.uv-${randomUUID()}`);
        yield* files.makeDirectory(tools, { recursive: true });
        yield* Effect.logInfo(`Bringing uv ${VERSION}`);
        yield* install(executable, folder).pipe(
          Effect.catch((withoutVenv) =>
            Effect.gen(function* () {
              const venv = `${folder}-venv`;
              yield* programs.run(executable, ["-m", "venv", venv]);
              yield* install(path.join(venv, "bin", "python"), folder);
            }).pipe(
              Effect.ensuring(
                Effect.ignore(files.remove(`${folder}-venv`, { recursive: true, force: true })),
              ),
              Effect.mapError(
                (error) =>
                  new UvUnavailable({ reason: `${withoutVenv.message}\n${error.message}` }),
              ),
            ),
          ),
        );
        yield* files.rename(folder, brought).pipe(
          Effect.catch((error) =>
            Effect.gen(function* () {
              yield* Effect.ignore(files.remove(folder, { recursive: true, force: true }));
              if (!(yield* isThere(ofTools(brought)))) return yield* error;
            }),
          ),
        );
        return ofTools(brought);
      });

      const find = Effect.gen(function* () {
        if (yield* isThere("uv")) return "uv";
        if (yield* isThere(ofTools(brought))) return ofTools(brought);
        return yield* bring().pipe(
          Effect.catchTags({
            PlatformError: (error) => Effect.fail(new UvUnavailable({ reason: error.message })),
            PythonNotFound: (error) => Effect.fail(new UvUnavailable({ reason: error.message })),
          }),
        );
      }).pipe(Effect.withSpan("Uv.find"));

      // Kept once found; a failure is tried again by the next who asks.
      const [cached, forget] = yield* Effect.cachedInvalidateWithTTL(find, Infinity);
      return Uv.of({ command: Effect.tapError(cached, () => forget) });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide([Programs.layer, Python.layer]));
}
