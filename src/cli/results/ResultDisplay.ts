import { Context, Duration, Effect, FileSystem, Layer, Result, Stream } from "effect";
import { Flag } from "effect/cli";
import { ChildProcess, ChildProcessSpawner } from "effect/process";

import { SHOW_VALUE } from "../../runner/PythonSources.ts";
import { Environment } from "../../settings/Environment.ts";
import { Workspace } from "../../workspace/Workspace.ts";
import { visibleLine } from "./TerminalText.ts";
import { readPickle } from "./pickle/Pickle.ts";
import { pythonRepr } from "./python/PythonRepr.ts";

/** Maximum length of a shown result. */
const MAX_CHARACTERS = 2000;

/** Loading imports modules: torch takes half a minute from a cold disk. */
const LOAD_TIMEOUT = Duration.minutes(1);

/** Variables of the process that loads a value. None identifies the user or contains a key. */
const PASSED_ON = ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH"];

const withoutValue = (reason: string) => `a value that can't be shown: ${reason}`;

/** Shows a pickle without running any of its code. */
const inert = (pickle: Buffer): string =>
  Result.match(readPickle(pickle), {
    onSuccess: ({ value, limit }) =>
      pythonRepr(value, MAX_CHARACTERS) +
      (limit === undefined ? "" : ` (only the beginning was read: ${limit})`),
    onFailure: ({ message }) => withoutValue(message),
  });

/** Shows Python results as text. */
export class ResultDisplay extends Context.Service<
  ResultDisplay,
  {
    /** A pickle as one line. */
    readonly show: (pickle: Buffer) => Effect.Effect<string>;
  }
>()("worker-tetra/cli/results/ResultDisplay") {
  /** Shows a result without loading it, so that it can't run code on this machine. */
  static readonly layer = Layer.succeed(
    this,
    ResultDisplay.of({ show: (pickle) => Effect.sync(() => inert(pickle)) }),
  );

  /** Loads a result in a separate process and shows Python's repr. */
  static readonly layerLoadingNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const workspace = yield* Workspace;
      const files = yield* FileSystem.FileSystem;
      const spawner = yield* ChildProcessSpawner.ChildProcessSpawner;
      const { forPrograms } = yield* Environment;

      const load = Effect.fnUntraced(function* (pickle: Buffer) {
        const { python } = yield* workspace.ready;
        const folder = yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-value-" });
        const names = PASSED_ON.filter((name) => forPrograms[name] !== undefined);
        const loader = yield* spawner.spawn(
          ChildProcess.make(python, ["-I", SHOW_VALUE, String(MAX_CHARACTERS)], {
            cwd: folder,
            env: {
              ...Object.fromEntries(names.map((name) => [name, forPrograms[name]])),
              HOME: folder,
              TMPDIR: folder,
            },
            extendEnv: false,
            stdin: Stream.make(pickle),
            stderr: "ignore",
            killSignal: "SIGKILL",
          }),
        );
        // Code in the result could write endless output.
        const start = Stream.limitBytes(loader.stdout, 8 * MAX_CHARACTERS, () => Stream.empty);
        const text = yield* start.pipe(Stream.decodeText, Stream.mkString);
        const code = yield* loader.exitCode;
        return code === 0 ? visibleLine(text) : withoutValue(visibleLine(text));
      }, Effect.scoped);

      return ResultDisplay.of({
        show: (pickle) =>
          load(pickle).pipe(
            Effect.timeout(LOAD_TIMEOUT),
            Effect.catch(({ message }) =>
              Effect.succeed(`${inert(pickle)} (not loaded: ${visibleLine(message)})`),
            ),
          ),
      });
    }),
  );

  static readonly layerLoading = this.layerLoadingNoDeps.pipe(Layer.provide(Workspace.layer));
}

/** Whether results are loaded to be shown. */
export const LOAD = Flag.Boolean("load").pipe(
  Flag.withDescription(
    "Unpickle results to show them as Python does. This runs any code in them, in a process without your keys",
  ),
  Flag.withDefault(false),
);

export const displayOf = (load: boolean) =>
  load ? ResultDisplay.layerLoading : ResultDisplay.layer;
