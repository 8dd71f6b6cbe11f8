import { Context, Duration, Effect, FileSystem, Layer, Result, Stream } from "effect";
import { Flag } from "effect/cli";
import { ChildProcess, ChildProcessSpawner } from "effect/process";

import { SHOW_VALUE } from "../../runner/PythonSources.ts";
import { Environment } from "../../settings/Environment.ts";
import { Workspace } from "../../workspace/Workspace.ts";
import { visibleWord } from "./TerminalText.ts";
import { readPickle } from "./pickle/Pickle.ts";
import { pythonRepr } from "./python/PythonRepr.ts";

/** The most of a result that is shown. */
const MAX_CHARACTERS = 2000;

/** Loading imports what the value is made of: torch takes half a minute on a cold disk. */
const LOAD_LIMIT = Duration.minutes(1);

/** Variables for the process that loads a value: none that identify the user, an account or a key. */
const PASSED_ON = ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH"];

const withoutValue = (reason: string) => `a value that can't be shown: ${reason}`;

/** The content of a pickle, without running any of it. */
const inert = (pickle: Buffer): string =>
  Result.match(readPickle(pickle), {
    onSuccess: ({ value, limit }) =>
      pythonRepr(value, MAX_CHARACTERS) +
      (limit === undefined ? "" : ` (only its beginning was read: ${limit})`),
    onFailure: ({ message }) => withoutValue(message),
  });

/** How a result of Python is shown to a person. */
export class ResultDisplay extends Context.Service<
  ResultDisplay,
  {
    /** A pickle as one line of text. */
    readonly show: (pickle: Buffer) => Effect.Effect<string>;
  }
>()("worker-tetra/cli/results/ResultDisplay") {
  /** Shows a value without loading it, so that no result can run code on this machine. */
  static readonly layer = Layer.succeed(
    this,
    ResultDisplay.of({ show: (pickle) => Effect.sync(() => inert(pickle)) }),
  );

  /** Loads a value in a separate process, and shows Python's repr. */
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
        // Code in the value could write forever.
        const start = Stream.limitBytes(loader.stdout, 8 * MAX_CHARACTERS, () => Stream.empty);
        const text = yield* start.pipe(Stream.decodeText, Stream.mkString);
        const code = yield* loader.exitCode;
        return code === 0 ? visibleWord(text) : withoutValue(visibleWord(text));
      }, Effect.scoped);

      return ResultDisplay.of({
        show: (pickle) =>
          load(pickle).pipe(
            Effect.timeout(LOAD_LIMIT),
            Effect.catch(({ message }) =>
              Effect.succeed(`${inert(pickle)} (not loaded: ${visibleWord(message)})`),
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
    "Load results to show them as Python does; this runs any code in them, in a process without your keys",
  ),
  Flag.withDefault(false),
);

export const displayOf = (load: boolean) =>
  load ? ResultDisplay.layerLoading : ResultDisplay.layer;
