import { join } from "node:path";

import { Effect, type FileSystem } from "effect";

import { parseVenvName } from "../../venv/VenvNames.ts";

const NVIDIA = "/proc/driver/nvidia";

/** A name as a part of a folder's name: without separators, spaces and capitals. */
const slug = (name: string): string =>
  name
    .toLowerCase()
    .replaceAll(/\([a-z]+\)|cpu|processor/g, " ")
    .replaceAll(/[^a-z0-9.]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");

const textOf = (files: FileSystem.FileSystem, path: string) =>
  Effect.orElseSucceed(files.readFileString(path), () => "");

/** The distinct models of the GPUs, in alphabetical order. */
const gpuModels = Effect.fnUntraced(function* (files: FileSystem.FileSystem) {
  const folder = join(NVIDIA, "gpus");
  const gpus = yield* Effect.orElseSucceed(
    files.readDirectory(folder),
    (): ReadonlyArray<string> => [],
  );
  const texts = yield* Effect.forEach(gpus, (gpu) =>
    textOf(files, join(folder, gpu, "information")),
  );
  const models = texts.flatMap((text) => /^Model:\s*(.+)$/m.exec(text)?.[1] ?? []);
  return [...new Set(models.map(slug))].toSorted();
});

/** Instruction sets of the levels v3 and v4 of x86-64 that compilers use, by their names in /proc/cpuinfo. */
const LEVELS = {
  v3: ["avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"],
  v4: ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
} as const;

/** The level of x86-64, or the architecture of other CPUs. */
const instructionSets = (cpuinfo: string): string => {
  if (process.arch !== "x64") return process.arch;
  const flags = new Set(/^flags\s*:\s*(.+)$/m.exec(cpuinfo)?.[1]?.split(" "));
  const hasAll = (names: ReadonlyArray<string>) => names.every((name) => flags.has(name));
  if (!hasAll(LEVELS.v3)) return "x86-64";
  return hasAll(LEVELS.v4) ? "x86-64-v4" : "x86-64-v3";
};

/**
 * What compiled kernels depend on besides the image: GPU models and driver, or the model of the CPU, and its instruction
 * sets, since kernels for the CPU are compiled on machines with GPUs too. Read from /proc, because starting nvidia-smi
 * takes up to a second.
 */
export const compileMachine = Effect.fn("CompileKey.machine")(function* (
  files: FileSystem.FileSystem,
) {
  const gpus = yield* gpuModels(files);
  const cpuinfo = yield* textOf(files, "/proc/cpuinfo");
  if (gpus.length > 0) {
    const version = yield* textOf(files, join(NVIDIA, "version"));
    const driver = / (\d+(?:\.\d+)+) /.exec(version.split("\n")[0] ?? "")?.[1] ?? "unknown";
    return [gpus.join("+"), `driver-${driver}`, instructionSets(cpuinfo)].join("_");
  }
  const model = slug(/^model name\s*:\s*(.+)$/m.exec(cpuinfo)?.[1] ?? "");
  return [...(model === "" ? [] : [model]), instructionSets(cpuinfo)].join("_");
});

/** The name of the folder of compiled kernels: of the machine, and of the image that a venv was built from. */
export const compileKey = (machine: string, venv: string): string => {
  const name = parseVenvName(venv);
  return name === undefined
    ? `${machine}_${venv}`
    : `${machine}_${name.version}-${name.fingerprint}`;
};

/** Whether a folder's name is one of `compileKey`. Others are of libraries, or of earlier versions of the worker. */
export const isCompileKey = (name: string): boolean =>
  /^[a-z0-9][a-z0-9.+-]*_(?:[a-z0-9.-]+_)*[\d.]+-[0-9a-f]+$/.test(name);
