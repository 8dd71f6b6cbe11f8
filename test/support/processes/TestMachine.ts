import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  writeFileSync,
} from "node:fs";
import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { NodeServices } from "@effect/platform-node";
import { Effect, Layer, type Scope } from "effect";

import { Environment } from "../../../src/settings/Environment.ts";
import { Interpreters } from "../../../src/venv/Interpreters.ts";
import { Uv } from "../../../src/venv/Uv.ts";
import { eventually } from "../effects/Waiting.ts";
import { temporaryFolder } from "../files/TemporaryFolder.ts";
import { startProcess } from "./ChildProcess.ts";

const script = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const WORKSPACE_WORKER = script("workspaceWorker.ts");
const PACKAGES_WORKER = script("packagesWorker.ts");

/** What a worker prints when it is ready. */
interface Ready {
  readonly directory: string;
  readonly prefix: string;
  readonly python: string;
  readonly version: string;
  /** Output of the Python code for each list of packages. */
  readonly outputs: ReadonlyArray<string>;
}

const interpreterOf = (name: string | undefined) =>
  Effect.option(
    Effect.gen(function* () {
      const python = yield* Interpreters;
      const { executable } = yield* python.base;
      return { executable, version: (yield* python.facts(executable)).version };
    }).pipe(
      Effect.provide(
        Layer.provide(
          Interpreters.layer,
          Environment.layerOf({ ...process.env, WORKER_PYTHON: name }),
        ),
      ),
    ),
  );

/** uv, the default interpreter of this machine, and another one with a different version if there is one. */
export const findTools = Effect.gen(function* () {
  const uv = yield* Effect.flatMap(Uv, ({ command }) => command).pipe(
    Effect.provide(Layer.provide(Uv.layer, Environment.layer)),
  );
  const names = [
    undefined,
    "/usr/bin/python3",
    ...[9, 10, 11, 12, 13, 14].map((minor) => `python3.${minor}`),
  ];
  const found = (yield* Effect.forEach(names, interpreterOf, { concurrency: 2 })).flatMap(
    (option) => (option._tag === "Some" ? [option.value] : []),
  );
  const pythons = new Map(
    found.toReversed().map(({ version, executable }) => [version, executable]),
  );
  const [first] = found;
  if (first === undefined) return yield* Effect.die(new Error("no Python was found"));
  return {
    uv: execFileSync("/bin/sh", ["-c", `command -v ${uv}`], { encoding: "utf8" }).trim(),
    python: first.executable,
    otherPython: [...pythons].find(([version]) => version !== first.version)?.[1],
  };
}).pipe(Effect.provide(NodeServices.layer));

type Tools = Effect.Success<typeof findTools>;

/** A worker's process. */
export interface WorkerProcess {
  readonly pid: number;
  /** Waits until the worker is ready. Dies with its output if it ends before. */
  readonly ready: Effect.Effect<Ready>;
  /** Waits until the worker has written this text. Dies if it ends before. */
  readonly wrote: (text: string) => Effect.Effect<void>;
  readonly warnings: () => ReadonlyArray<string>;
  readonly signal: (name: NodeJS.Signals) => Effect.Effect<void>;
  readonly ended: Effect.Effect<void>;
}

const startWorker = Effect.fnUntraced(function* (
  variables: Readonly<Record<string, string | undefined>>,
): Effect.fn.Return<WorkerProcess, never, Scope.Scope> {
  const program = variables["PACKAGES"] === undefined ? WORKSPACE_WORKER : PACKAGES_WORKER;
  const { pid, wrote, stderr, signal, ended } = yield* startProcess(process.execPath, [program], {
    environment: { ...process.env, ...variables },
    hasOpenStdin: true,
  });
  return {
    pid,
    ready: Effect.map(wrote(/^\{.*\}$/m), ([line = ""]): Ready => JSON.parse(line)),
    wrote: (text) => Effect.asVoid(wrote(text)),
    warnings: () =>
      stderr()
        .split("\n")
        .filter((line) => line.startsWith("Warn: ")),
    signal,
    ended: Effect.asVoid(ended),
  };
});

/** A folder with an empty network volume and everything else that workers need. */
export const testMachine = Effect.fnUntraced(function* ({ uv, python }: Tools) {
  const folder = yield* temporaryFolder;
  const volume = join(folder, "volume");
  const workspace = join(volume, "runtimes", "default");
  const log = join(folder, "programs.log");
  const gate = join(folder, "gate");
  const cache = execFileSync(uv, ["cache", "dir"], { encoding: "utf8" }).trim();

  /** Creates a script that logs its calls, in a folder that is the first on a worker's PATH. */
  const script = (bin: string, name: string, lines: string) => {
    mkdirSync(join(folder, bin), { recursive: true });
    const file = join(folder, bin, name);
    writeFileSync(file, `#!/bin/sh\necho "${name} $*" >> ${log}\n${lines}\n`);
    chmodSync(file, 0o755);
  };
  script("bin", "uv", `exec ${uv} "$@"`);
  script("bin", "python3", `exec ${python} "$@"`);
  execFileSync("mkfifo", [gate]);
  script("gated", "uv", `if [ "$1" = venv ]; then read line < ${gate}; fi\nexec ${uv} "$@"`);
  script(
    "gatedInstall",
    "uv",
    `case "$*" in *--dry-run*) ;; *six*) read line < ${gate};; esac\nexec ${uv} "$@"`,
  );
  // Without a working setpriv, child processes outlive the worker.
  script("gatedInstall", "setpriv", "exit 1");
  mkdirSync(volume);
  writeFileSync(log, "");

  let started = 0;
  /** Starts a worker, which is killed when the scope closes. */
  const start = (
    variables: Readonly<Record<string, string>> = {},
    bin: "bin" | "gated" | "gatedInstall" = "bin",
  ) => {
    started += 1;
    return startWorker({
      PATH: `${join(folder, bin)}:${process.env["PATH"]}`,
      RUNPOD_VOLUME_PATH: volume,
      RUNPOD_ENDPOINT_ID: undefined,
      WORKER_WORKSPACE_PATH: join(folder, `own-${started}`),
      WORKER_APP_PATH: join(folder, "app"),
      WORKER_PYTHON: python,
      WORKER_IMAGE_PYTHON: undefined,
      WORKSPACE_INIT_TIMEOUT: "100",
      WORKSPACE_LOCK_POLL_INTERVAL: "0.1",
      UV_CACHE_DIR: cache,
      ...variables,
    });
  };

  return {
    folder,
    workspace,
    lock: join(workspace, ".initialization.lock"),
    installLock: join(workspace, ".venvs", ".install.lock"),
    uv,
    start,
    /** Opens the gate that uv waits at in the folders `gated` and `gatedInstall`. */
    open: Effect.promise(() => appendFile(gate, "go\n")),
    /** All logged calls of programs that start with this text. */
    calls: (start: string) =>
      readFileSync(log, "utf8")
        .split("\n")
        .filter((line) => line.startsWith(start)),
    /** Waits until a program was called with these arguments. */
    called: (start: string, part: string) =>
      eventually(() =>
        readFileSync(log, "utf8")
          .split("\n")
          .some(
            (line) => line.startsWith(start) && line.includes(part) && !line.includes("--dry-run"),
          ),
      ),
    /** The target of the link `.venv`. */
    published: () => join(workspace, readlinkSync(join(workspace, ".venv"))),
    /** Names of all venvs, including unfinished ones. */
    venvs: () =>
      existsSync(join(workspace, ".venvs"))
        ? readdirSync(join(workspace, ".venvs"))
            .filter((name) => !/\.lock(?:\.\d+)?$/.test(name))
            .toSorted()
        : [],
  };
});

/** Imports the base packages; returns `sys.prefix`. */
export const importAll = (python: string) =>
  execFileSync(python, ["-c", "import sys, cloudpickle, aiohttp; print(sys.prefix, end='')"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
