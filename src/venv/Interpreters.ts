import { resolve } from "node:path";

import { Context, Effect, FileSystem, Layer, Option, Schema } from "effect";

import { PYTHON } from "../platform/PythonSetting.ts";
import { absoluteFolders, findFile } from "../platform/programs/ProgramPath.ts";
import { Programs } from "../platform/programs/Programs.ts";
import { Environment } from "../settings/Environment.ts";
import * as Setting from "../settings/Setting.ts";

const IMAGE_PYTHON = Setting.optionalText({
  name: "WORKER_IMAGE_PYTHON",
  doc: "Interpreter whose installed packages (such as PyTorch) are available to jobs.",
  expected: "the path of an interpreter",
  fallback: "none: jobs see only the packages in their virtual environment",
});

/** The runner supports Python 3.9 and newer. */
const OLDEST_MINOR = 9;

/** `python3` is the default of the machine; the others are tried if it is too old. */
const CANDIDATES = ["python3", ...[14, 13, 12, 11, 10, 9].map((minor) => `python3.${minor}`)];

/** No interpreter was found that can run jobs. */
export class PythonNotFound extends Schema.TaggedError<PythonNotFound>()("PythonNotFound", {
  tried: Schema.Array(Schema.String),
  reason: Schema.String,
}) {
  override get message(): string {
    return `No usable Python: ${this.reason} (tried ${this.tried.join(", ")}). Install Python 3.${OLDEST_MINOR} or newer, or set WORKER_PYTHON to one.`;
  }
}

/** An interpreter on this machine. */
export interface Interpreter {
  /** The real file of the base interpreter, not that of a virtual environment or a shim. */
  readonly executable: string;
  /** Changes when the file changes; the same in all containers of an image. */
  readonly identity: string;
}

/** What an interpreter reports about itself. */
const Facts = Schema.Struct({
  /** Such as `3.12.1`. */
  version: Schema.String,
  executable: Schema.String,
  /** Folders of installed packages. */
  sitePackages: Schema.Array(Schema.String),
});
export type Facts = typeof Facts.Type;

const decodeFacts = Schema.decodeUnknownEffect(Schema.fromJsonString(Facts));

const PROBE = `import json, os, site, sys
print(json.dumps({
    "version": "%d.%d.%d" % sys.version_info[:3],
    "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "sitePackages": site.getsitepackages(),
}))`;

/** The minor version in a file name such as `python3.12`. */
const minorInName = (executable: string): number | undefined => {
  const found = /python3\.(\d+)[a-z]*$/.exec(executable)?.[1];
  return found === undefined ? undefined : Number(found);
};

const minorOf = (version: string): number => {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major === 3 ? minor : -1;
};

/** A shim (a script that selects an interpreter, as pyenv has) must be run to find the interpreter. */
const isScript = Effect.fnUntraced(function* (files: FileSystem.FileSystem, file: string) {
  const handle = yield* files.open(file);
  const start = yield* handle.readAlloc(2);
  return Option.exists(start, (bytes) => Buffer.from(bytes).toString() === "#!");
}, Effect.scoped);

const identify = Effect.fnUntraced(function* (files: FileSystem.FileSystem, executable: string) {
  const { size, mtime } = yield* files.stat(executable);
  const changed = Option.match(mtime, { onNone: () => 0, onSome: (date) => date.getTime() });
  return { executable, identity: `${executable} ${size} ${changed}` };
});

const NOT_FOUND = "was not found";

/** The first candidate that `examine` accepts; for the others it returns the reason. */
const firstUsable = <E extends { readonly message: string }>(
  examine: (candidate: string) => Effect.Effect<Interpreter | string, E>,
) =>
  Effect.fn("Python.find")(function* (candidates: ReadonlyArray<string>) {
    const reasons: Array<string> = [];
    for (const candidate of candidates) {
      const found = yield* Effect.catch(examine(candidate), (error) =>
        Effect.succeed(`does not run: ${error.message}`),
      );
      if (typeof found !== "string") return found;
      reasons.push(`${candidate} ${found}`);
    }
    return yield* new PythonNotFound({
      tried: candidates,
      reason: reasons.find((reason) => !reason.endsWith(NOT_FOUND)) ?? "no interpreter was found",
    });
  });

/** Finds the interpreters for jobs on this machine, if possible without starting them. */
export class Interpreters extends Context.Service<
  Interpreters,
  {
    /** The interpreter that virtual environments are built from. */
    readonly base: Effect.Effect<Interpreter, PythonNotFound>;
    /** The interpreter whose packages the image provides, if any. */
    readonly image: Effect.Effect<Option.Option<Interpreter>, PythonNotFound>;
    /** Runs an interpreter to get its version and folders. */
    readonly facts: (executable: string) => Effect.Effect<Facts, PythonNotFound>;
  }
>()("worker-tetra/venv/Interpreters") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const programs = yield* Programs;
      const files = yield* FileSystem.FileSystem;
      const { forPrograms } = yield* Environment;
      const chosen = yield* PYTHON.value;
      const imageChosen = yield* IMAGE_PYTHON.value;
      const folders = absoluteFolders(forPrograms["PATH"] ?? "");

      const facts = Effect.fn("Python.facts")(function* (executable: string) {
        return yield* programs.run(executable, ["-I", "-c", PROBE]).pipe(
          Effect.flatMap(decodeFacts),
          Effect.mapError(
            (error) => new PythonNotFound({ tried: [executable], reason: error.message }),
          ),
        );
      });

      const pathOf = (command: string) =>
        command.includes("/")
          ? Effect.succeedSome(resolve(command))
          : findFile(files, folders, command);

      const examine = Effect.fnUntraced(function* (candidate: string) {
        const file = yield* pathOf(candidate);
        if (Option.isNone(file)) return NOT_FOUND;
        const real = yield* files.realPath(file.value);
        const minor = (yield* isScript(files, real)) ? undefined : minorInName(real);
        if (minor !== undefined) {
          return minor >= OLDEST_MINOR ? yield* identify(files, real) : `is Python 3.${minor}`;
        }
        const { version, executable } = yield* facts(file.value);
        return minorOf(version) >= OLDEST_MINOR
          ? yield* identify(files, executable)
          : `is Python ${version}`;
      });

      const find = firstUsable(examine);

      /** Keeps the path as it is: it determines the virtual environment whose packages are used. */
      const imageInterpreter = Effect.fnUntraced(function* (command: string) {
        const { identity } = yield* find([command]);
        const executable = Option.getOrElse(yield* pathOf(command), () => command);
        return { executable, identity: `${executable} ${identity}` };
      });

      return Interpreters.of({
        facts,
        base: yield* Effect.cached(
          Effect.suspend(() => find(Option.isSome(chosen) ? [chosen.value] : CANDIDATES)),
        ),
        image: yield* Effect.cached(
          Effect.suspend(() =>
            Option.isSome(imageChosen)
              ? Effect.asSome(imageInterpreter(imageChosen.value))
              : Effect.succeedNone,
          ),
        ),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide(Programs.layer));
}
