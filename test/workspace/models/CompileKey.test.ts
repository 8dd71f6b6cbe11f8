import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import {
  compileKey,
  compileMachine,
  isCompileKey,
} from "../../../src/workspace/models/CompileKey.ts";
import { memoryFileSystem, type Planted } from "../../support/files/MemoryFileSystem.ts";

const NVIDIA = "/proc/driver/nvidia";

const FLAGS_V3 = "fpu sse sse2 ssse3 avx avx2 fma f16c movbe bmi1 bmi2 pti";

const cpuinfo = (model: string, flags: string) =>
  ["processor\t: 0", `model name\t: ${model}`, `flags\t\t: ${flags}`, ""].join("\n");

const gpu = (address: string, model: string) => ({
  [`${NVIDIA}/gpus/${address}/information`]: `Model: \t\t ${model}\nIRQ:   \t\t 12\n`,
});

const OPEN_MODULE =
  "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build\nGCC version:  gcc version 12.3.0\n";
const CLOSED_MODULE =
  "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n";

const machineWith = (planted: Readonly<Record<string, Planted>>) =>
  compileMachine(memoryFileSystem(planted).files);

const EPYC = { "/proc/cpuinfo": cpuinfo("AMD EPYC 7763 64-Core Processor", FLAGS_V3) };

describe.runIf(process.arch === "x64")("compileMachine", () => {
  it.effect(
    "names the model of the GPUs once, with the driver and the CPU's instruction sets",
    () =>
      Effect.gen(function* () {
        const machine = yield* machineWith({
          ...EPYC,
          [`${NVIDIA}/version`]: OPEN_MODULE,
          ...gpu("0000:01:00.0", "NVIDIA A100-SXM4-80GB"),
          ...gpu("0000:02:00.0", "NVIDIA A100-SXM4-80GB"),
        });
        assert.strictEqual(machine, "nvidia-a100-sxm4-80gb_driver-550.54.15_x86-64-v3");
      }),
  );

  it.effect("names all models of different GPUs, in the same order on each machine", () =>
    Effect.gen(function* () {
      const machine = yield* machineWith({
        ...EPYC,
        [`${NVIDIA}/version`]: CLOSED_MODULE,
        ...gpu("0000:01:00.0", "Tesla T4"),
        ...gpu("0000:02:00.0", "NVIDIA L4"),
      });
      assert.strictEqual(machine, "nvidia-l4+tesla-t4_driver-535.129.03_x86-64-v3");
    }),
  );

  it.effect("names the CPU if there is no GPU", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* machineWith(EPYC), "amd-epyc-7763-64-core_x86-64-v3");
    }),
  );

  it.effect("distinguishes CPUs of one name with different instruction sets", () =>
    Effect.gen(function* () {
      const model = "Intel(R) Xeon(R) CPU @ 2.20GHz";
      const avx512 = `${FLAGS_V3} avx512f avx512bw avx512cd avx512dq avx512vl`;
      const machines = yield* Effect.forEach(["sse2", FLAGS_V3, avx512], (flags) =>
        machineWith({ "/proc/cpuinfo": cpuinfo(model, flags) }),
      );
      assert.deepStrictEqual(machines, [
        "intel-xeon-2.20ghz_x86-64",
        "intel-xeon-2.20ghz_x86-64-v3",
        "intel-xeon-2.20ghz_x86-64-v4",
      ]);
    }),
  );

  it.effect("works without /proc", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* machineWith({}), "x86-64");
    }),
  );
});

describe("compileKey", () => {
  const MACHINE = "nvidia-l4_driver-550.54.15_x86-64-v3";

  it("is the same for all virtual environments of an image", () => {
    const keys = ["3.12.1-abc-1", "3.12.1-abc-2"].map((venv) => compileKey(MACHINE, venv));
    assert.deepStrictEqual([...new Set(keys)], [`${MACHINE}_3.12.1-abc`]);
  });

  it.each([`${MACHINE}_3.12.1-abc`, "amd-epyc-7763-64-core_x86-64-v3_3.9.2-0f", "arm64_3.13.0-1"])(
    "is recognized: %s",
    (key) => assert.isTrue(isCompileKey(key)),
  );

  it.each([
    "torch_compile_cache",
    "gpu_p2p_access_cache_for_0,1.json",
    "modelinfos",
    "AB3F7MZQK2",
    ".removing-x",
    "c4",
    "fxgraph",
    "_3.12.1-abc",
  ])("is not confused with a folder of a library: %s", (name) =>
    assert.isFalse(isCompileKey(name)),
  );
});
