import { Context, Effect, Layer } from "effect";

import { PythonPackages } from "../../../src/dependencies/PythonPackages.ts";
import { LocalInstalls } from "../../../src/dependencies/pip/LocalInstalls.ts";
import { type Change, Pip } from "../../../src/dependencies/pip/Pip.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import type { InstallCheck } from "../../../src/venv/InstallCheck.ts";
import type { Uv } from "../../../src/venv/Uv.ts";
import type { Outcome } from "../fakes/FakePrograms.ts";
import type { Step } from "../fakes/Steps.ts";
import type { Fault } from "../files/FaultyFileSystem.ts";
import type { MemoryFileSystem } from "../files/MemoryFileSystem.ts";
import { noLocalInstalls } from "./FakeCopies.ts";
import { fakeMachine, type MachineOptions } from "./FakeMachine.ts";

const NOT_FOUND: Outcome = {
  exitCode: 1,
  output:
    "Because unknown was not found in the package registry, your requirements are unsatisfiable.",
};
/** The result of uv on a full disk. */
export const FULL: Outcome = {
  exitCode: 2,
  output: "failed to write: No space left on device (os error 28)",
};

/** A fake uv with an index that has every version of every package except `unknown`. */
export const uvOf = (line: string, memory: MemoryFileSystem): Outcome | undefined => {
  const args = line.split(" ");
  if (!line.startsWith("uv pip install")) return undefined;
  const python = args[args.indexOf("--python") + 1] ?? "";
  const folder = `${python.slice(0, -"/bin/python".length)}/lib/python3.12/site-packages`;
  const isDryRun = args.includes("--dry-run");
  const changes: Array<Change> = [];
  for (const requirement of args.slice(args.indexOf("--") + 1)) {
    const [name = "", version = "9"] = requirement.split(/[=>]=/);
    if (name === "unknown") return NOT_FOUND;
    const records = memory.paths(new RegExp(`^${folder}/${name}-[^/]*\\.dist-info$`));
    const wanted = `${folder}/${name}-${version}.dist-info`;
    if (records.includes(wanted) || (records.length > 0 && !requirement.includes("=="))) continue;
    const change = (action: string) => ({ name, version, action });
    changes.push(...records.map(() => change("uninstalled")), change("installed"));
    if (isDryRun) continue;
    for (const record of records) memory.uproot(record);
    memory.plant({ [wanted]: null });
  }
  return isDryRun ? JSON.stringify({ changes }) : "";
};

/** A fake machine whose workers install packages. */
export const fakePackages = (options: MachineOptions = {}) => {
  const machine = fakeMachine({
    ...options,
    programs: (line, memory) => options.programs?.(line, memory) ?? uvOf(line, memory),
  });
  const installs = () =>
    machine.lines
      .filter((line) => line.startsWith("uv pip install") && !line.includes("--dry-run"))
      .map((line) => line.slice(line.indexOf(" -- ") + 4))
      .filter((list) => !list.startsWith("cloudpickle"));
  return {
    ...machine,
    /** The lists that uv installed, without dry runs and new venvs. */
    installs,
    /** The requirements of new venvs. */
    built: () =>
      machine.lines
        .filter((line) => line.includes(" -- cloudpickle"))
        .map((line) => line.split(" ").slice(line.split(" ").indexOf("--") + 3)),
    dryRuns: () => machine.lines.filter((line) => line.includes("--dry-run")).length,
    /** Starts another worker. */
    start: Effect.fnUntraced(function* ({
      pip = Pip.layerNoDeps,
      faults = [],
      installTimeout = "9",
      step,
    }: {
      readonly pip?: Layer.Layer<Pip, never, Uv | InstallCheck>;
      readonly faults?: ReadonlyArray<Fault>;
      readonly installTimeout?: string;
      readonly step?: Step;
    } = {}) {
      const worker = yield* machine.worker({}, faults, step);
      const context = yield* Layer.build(
        PythonPackages.layerNoDeps.pipe(
          Layer.provide(options.hasCopies === true ? LocalInstalls.layerNoDeps : noLocalInstalls),
          Layer.provide(pip),
          Layer.provide([
            worker.services,
            Environment.layerOf({ WORKER_INSTALL_TIMEOUT: installTimeout }),
          ]),
        ),
      );
      const packages = Context.get(context, PythonPackages);
      const satisfy = (list: ReadonlyArray<string>) =>
        Effect.flatMap(worker.ready, (prepared) => packages.ensure(list, prepared));
      return {
        ...worker,
        packages,
        satisfy,
        /** Installs a list, and returns how often the packages of the workspace have changed. */
        changesAfter: (list: ReadonlyArray<string>) =>
          Effect.map(satisfy(list), ({ generation }) => generation - 1),
        /** Installs a list, and returns whether packages were added to an existing venv. */
        ensure: (list: ReadonlyArray<string>) =>
          Effect.suspend(() => {
            const before = installs().length;
            return Effect.map(satisfy(list), () => installs().length > before);
          }),
      };
    }),
  };
};
