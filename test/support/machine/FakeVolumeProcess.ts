import { join } from "node:path";

import { Effect, Option, Schema } from "effect";

import { DiskFault } from "../../../src/platform/files/DiskFault.ts";
import type { MemoryFileSystem } from "../files/MemoryFileSystem.ts";
import { answeringVolumeProcess, VOLUME } from "./AnsweringVolumeProcess.ts";
import { type ArchiveBehaviour, fakeArchives } from "./FakeArchives.ts";

/** How the volume differs from one with space. Functions are called for each operation. */
export interface VolumeBehaviour {
  /** The error code of writes; none if there is space. */
  readonly fault?: () => string | undefined;
  /** An empty file of a package in this folder; none if all files are complete. */
  readonly emptyFile?: (sitePackages: string) => string | undefined;
  /** Whether the virtual environment is intact after what a failed install added was removed; true by default. */
  readonly isIntact?: boolean;
  readonly archives?: ArchiveBehaviour;
}

const Args = Schema.Struct({
  path: Schema.optionalKey(Schema.String),
  folder: Schema.optionalKey(Schema.String),
  before: Schema.optionalKey(Schema.Array(Schema.String)),
});

const decodeArgs = Schema.decodeUnknownSync(Args);

/** The network volume of a fake machine. Its operations are recorded. */
export const fakeVolumeProcess = (memory: MemoryFileSystem, behaviour: VolumeBehaviour = {}) => {
  const verify = (folder: string) => {
    const file = behaviour.emptyFile?.(folder);
    return file === undefined ? [] : [{ package: "six-1.dist-info", file, isEmpty: true }];
  };

  const restore = (folder: string, before: ReadonlyArray<string>) => {
    const names = memory
      .paths(new RegExp(`^${folder}/[^/]+$`))
      .map((path) => path.slice(folder.length + 1));
    for (const name of names) if (!before.includes(name)) memory.uproot(join(folder, name));
    return behaviour.isIntact ?? true;
  };

  const replyTo = (operation: string, given: object): Effect.Effect<unknown, DiskFault> => {
    const { path = VOLUME, folder = "", before = [] } = decodeArgs(given);
    switch (operation) {
      case "files.probe": {
        const code = behaviour.fault?.();
        return code === undefined
          ? Effect.succeed(null)
          : Effect.fail(new DiskFault({ path, code, problem: "can't be accessed", detail: code }));
      }
      case "files.statfs":
        return Effect.succeed({ free: 0, total: 5_000_000_000 });
      case "files.size":
        return Effect.succeed({ bytes: 2_000_000_000, isComplete: true });
      case "venv.verify":
        return Effect.sync(() => verify(folder));
      case "venv.restore":
        return Effect.sync(() => restore(folder, before));
      default:
        return Effect.die(new Error(`${operation} is not implemented`));
    }
  };

  const archives = fakeArchives(memory, behaviour.archives);

  return answeringVolumeProcess(({ operation, args }) =>
    Effect.suspend(() =>
      Option.getOrElse(archives(operation, args), () => replyTo(operation, args)),
    ),
  );
};
