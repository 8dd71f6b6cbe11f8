import { Context, Effect, FileSystem, Layer, Path } from "effect";

import { BackgroundWork } from "../../../src/platform/BackgroundWork.ts";
import { DiskUsage } from "../../../src/platform/files/DiskUsage.ts";
import { Programs } from "../../../src/platform/programs/Programs.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { InstallCheck } from "../../../src/venv/InstallCheck.ts";
import { Interpreters } from "../../../src/venv/Interpreters.ts";
import { Uv } from "../../../src/venv/Uv.ts";
import { VenvBuilder } from "../../../src/venv/VenvBuilder.ts";
import { Leases } from "../../../src/venv/leases/Leases.ts";
import { LastStart } from "../../../src/workspace/LastStart.ts";
import { Volume } from "../../../src/workspace/Volume.ts";
import { Workspace } from "../../../src/workspace/Workspace.ts";
import { CompileUse } from "../../../src/workspace/models/CompileUse.ts";
import { LocalModels } from "../../../src/workspace/models/LocalModels.ts";
import { keptLogs } from "../fakes/CapturedLogs.ts";
import { fakePrograms, type Outcome } from "../fakes/FakePrograms.ts";
import { type Step, steppedFiles, steppedLocks, steppedPrograms } from "../fakes/Steps.ts";
import { type Fault, faultyFileSystem } from "../files/FaultyFileSystem.ts";
import { type Behaviour, memoryFileLock } from "../files/MemoryFileLock.ts";
import {
  memoryFileSystem,
  type MemoryFileSystem,
  type Planted,
} from "../files/MemoryFileSystem.ts";
import { copies, diskWith, noCopies } from "./FakeCopies.ts";
import { fakeVolumeProcess, type VolumeBehaviour } from "./FakeVolumeProcess.ts";

/** Versions of the fake interpreters, by path. */
const VERSIONS: Readonly<Record<string, string>> = {
  "/usr/bin/python3.12": "3.12.1",
  "/usr/bin/python3.11": "3.11.7",
};

/** The effects of uv and interpreters on files. */
const toolsOf = (memory: MemoryFileSystem) => {
  const venv = (base: string, folder: string): Outcome => {
    const version = VERSIONS[base];
    if (version === undefined) return { exitCode: 2, output: `error: no interpreter at ${base}` };
    const [major, minor] = version.split(".");
    memory.plant({
      [`${folder}/bin/python`]: { link: base },
      [`${folder}/pyvenv.cfg`]: `home = /usr/bin\nversion_info = ${version}\nrelocatable = true\n`,
      [`${folder}/lib/python${major}.${minor}/site-packages`]: null,
    });
    return "";
  };
  const install = (python: string, requirements: ReadonlyArray<string>): Outcome => {
    const folder = python.slice(0, -"/bin/python".length);
    memory.plant({ [`${folder}/installed`]: requirements.join("\n") });
    return "";
  };
  return (line: string): Outcome | undefined => {
    const words = line.split(" ");
    const [command = "", verb] = words;
    if (command === "uv" && verb === "--version") return "uv 0.13";
    if (command === "uv" && verb === "venv") {
      return venv(words[words.indexOf("--python") + 1] ?? "", words.at(-1) ?? "");
    }
    if (command === "uv" && verb === "pip") {
      const python = words[words.indexOf("--python") + 1] ?? "";
      return install(python, words.slice(words.indexOf("--") + 1));
    }
    const version = VERSIONS[command];
    return version === undefined || verb !== "-I"
      ? undefined
      : JSON.stringify({ version, executable: command, sitePackages: [`${command}-packages`] });
  };
};

export interface MachineOptions {
  readonly volume?: VolumeBehaviour;
  readonly planted?: Readonly<Record<string, Planted>>;
  readonly locks?: Behaviour;
  /** Whether virtual environments are packed and copied. */
  readonly hasCopies?: boolean;
  /** Free space for copies, in bytes; enough by default. */
  readonly freeSpace?: number;
  /** Overrides what programs do. */
  readonly programs?: (line: string, memory: MemoryFileSystem) => Outcome | undefined;
}

/** Without work in the background, which needs the process for the volume. */
const noModels = Layer.merge(
  Layer.succeed(LocalModels, { variables: () => Effect.succeed({}) }),
  Layer.succeed(CompileUse, { mark: () => Effect.void }),
);

/** A machine in memory with a network volume, on which workers can be started. */
export const fakeMachine = ({
  planted = {},
  volume: volumeBehaviour,
  locks: behaviour,
  hasCopies = false,
  freeSpace = 1e12,
  programs,
}: MachineOptions = {}) => {
  const memory = memoryFileSystem({
    "/usr/bin/python3.11": "ELF",
    "/usr/bin/python3.12": "ELF",
    "/runpod-volume": null,
    ...planted,
  });
  const locks = memoryFileLock(memory, behaviour);
  const volume = fakeVolumeProcess(memory, volumeBehaviour);
  const tools = toolsOf(memory);
  const { lines, layer: tracked } = fakePrograms((line) => programs?.(line, memory) ?? tools(line));
  const environments: Array<Readonly<Record<string, string>>> = [];
  const programsLayer = Layer.effect(
    Programs,
    Effect.map(Programs, ({ run }) =>
      Programs.of({
        run: (command, args, options) => {
          if (options?.environment !== undefined) environments.push(options.environment);
          return run(command, args, options);
        },
      }),
    ),
  ).pipe(Layer.provide(tracked));
  const logs = keptLogs();

  /** Starts a worker, which runs until the scope closes. */
  const worker = Effect.fnUntraced(function* (
    variables: Readonly<Record<string, string>> = {},
    faults: ReadonlyArray<Fault> = [],
    step: Step = () => Effect.void,
  ) {
    const files = faultyFileSystem(steppedFiles(memory.contended, step), faults);
    const context = yield* Layer.build(
      Workspace.layerNoDeps.pipe(
        Layer.provideMerge(hasCopies ? copies : noCopies),
        Layer.provideMerge(VenvBuilder.layerNoDeps),
        Layer.provideMerge(InstallCheck.layerNoDeps),
        Layer.provide([
          hasCopies ? diskWith(freeSpace) : DiskUsage.layerNoDeps,
          LastStart.layer,
          noModels,
        ]),
        Layer.provideMerge(Uv.layerNoDeps),
        Layer.provideMerge(Leases.layerNoDeps),
        Layer.provide(Interpreters.layerNoDeps),
        Layer.provideMerge(Volume.layer),
        Layer.provideMerge(Path.layer),
        Layer.provide([
          files.layer,
          Layer.provide(steppedLocks(step), locks.layer),
          volume.layer,
          Layer.provide(steppedPrograms(step), programsLayer),
          Environment.layerOf({
            PATH: "/usr/bin",
            HOME: "/home/me",
            WORKER_PYTHON: "python3.12",
            WORKER_WORKSPACE_PATH: "/own",
            WORKER_LOCAL_COPIES: "always",
            ...variables,
          }),
        ]),
      ),
    );
    return {
      ...Context.get(context, Workspace),
      venvs: Context.get(context, VenvBuilder),
      volume: Context.get(context, Volume),
      background: Context.get(context, BackgroundWork),
      faultsMet: files.met,
      /** All services of the worker, for layers above them. */
      services: Layer.succeedContext(context),
    };
  });

  return {
    memory,
    /** The file system of a worker without faults. */
    files: Layer.succeed(FileSystem.FileSystem, memory.contended),
    locks,
    /** Operations in the volume's process. */
    /** Command lines of all programs that were run. */
    lines,
    /** Environment variables that were passed to programs. */
    environments,
    /** The number of builds of venvs, including failed ones. */
    builds: () => lines.filter((line) => line.startsWith("uv venv ")).length,
    worker,
    warnings: logs.warnings,
    notices: logs.notices,
    /** The target of a link, if there is one. */
    linkAt: (path: string): string | undefined => {
      const node = memory.show()[path];
      return typeof node === "object" && node !== null ? node.link : undefined;
    },
    provide: Effect.provide(logs.layer),
  };
};
