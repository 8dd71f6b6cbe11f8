import {
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, FileSystem, Layer, type Scope } from "effect";

import { removeAbandonedFolders } from "../../../src/platform/files/AbandonedFolders.ts";
import { safeFileSystem } from "../../../src/platform/files/SafeFileSystem.ts";
import { FileLock } from "../../../src/platform/locks/FileLock.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { eventually } from "../../support/effects/Waiting.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { pythonLock } from "../../support/processes/PythonLock.ts";

const LONG_AGO = new Date("2020-01-01");

/** Runs a test with an empty folder for temporary files. */
const withTemporary = <A, E>(
  use: (
    folder: string,
  ) => Effect.Effect<A, E, FileLock | FileSystem.FileSystem | Environment | Scope.Scope>,
) =>
  Effect.gen(function* () {
    const folder = yield* temporaryFolder;
    const before = process.env["TMPDIR"];
    process.env["TMPDIR"] = folder;
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        if (before === undefined) delete process.env["TMPDIR"];
        else process.env["TMPDIR"] = before;
      }),
    );
    return yield* use(folder);
  }).pipe(
    Effect.scoped,
    Effect.provide(
      Layer.mergeAll(FileLock.layer, safeFileSystem).pipe(
        Layer.provideMerge(Environment.layerOf({ ...process.env, HOME: "/nonexistent" })),
        Layer.provide(NodeServices.layer),
      ),
    ),
  );

/** What a worker left that was killed. */
const plant = (folder: string, name: string, changed = LONG_AGO) => {
  const path = join(folder, name);
  mkdirSync(path);
  writeFileSync(join(path, "file"), "content");
  writeFileSync(`${path}.lock`, "");
  utimesSync(`${path}.lock`, changed, changed);
  return path;
};

const isLocked = (path: string) =>
  existsSync(path) && readFileSync("/proc/locks", "utf8").includes(`:${statSync(path).ino} `);

describe.skipIf(!existsSync("/proc/locks"))("removeAbandonedFolders", () => {
  it.live("removes folders whose worker was killed", () =>
    withTemporary((folder) =>
      Effect.gen(function* () {
        const path = plant(folder, "worker-tetra-abc");
        yield* removeAbandonedFolders;
        assert.isFalse(existsSync(path));
        assert.isFalse(existsSync(`${path}.lock`));
      }),
    ),
  );

  it.live("keeps folders that are locked, new, of others, or have no lock", () =>
    withTemporary((folder) =>
      Effect.gen(function* () {
        const locked = plant(folder, "worker-tetra-locked");
        yield* pythonLock(`${locked}.lock`);
        utimesSync(`${locked}.lock`, LONG_AGO, LONG_AGO);
        const kept = [
          locked,
          plant(folder, "worker-tetra-new", new Date()),
          plant(folder, "other-program"),
        ];
        mkdirSync(join(folder, "worker-tetra-unlocked"));
        yield* removeAbandonedFolders;
        for (const path of [...kept, join(folder, "worker-tetra-unlocked")]) {
          assert.isTrue(existsSync(path), path);
        }
      }),
    ),
  );

  it.live("does not follow links", () =>
    withTemporary((folder) =>
      Effect.gen(function* () {
        const target = plant(folder, "precious");
        symlinkSync(target, join(folder, "worker-tetra-link"));
        symlinkSync(`${target}.lock`, join(folder, "worker-tetra-link.lock"));
        const path = join(folder, "worker-tetra-linked");
        mkdirSync(path);
        symlinkSync(`${target}.lock`, `${path}.lock`);
        yield* removeAbandonedFolders;
        for (const each of [join(target, "file"), join(folder, "worker-tetra-link"), path]) {
          assert.isTrue(existsSync(each), each);
        }
      }),
    ),
  );

  it.live("keeps temporary folders of this worker, which it removes itself", () =>
    withTemporary(() =>
      Effect.gen(function* () {
        const files = yield* FileSystem.FileSystem;
        const path = yield* Effect.scoped(
          Effect.gen(function* () {
            const used = yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-" });
            // The worker acquires the lock in the background.
            yield* eventually(() => isLocked(`${used}.lock`));
            utimesSync(`${used}.lock`, LONG_AGO, LONG_AGO);
            yield* removeAbandonedFolders;
            assert.isTrue(existsSync(used));
            return used;
          }),
        );
        assert.isFalse(existsSync(path));
        assert.isFalse(existsSync(`${path}.lock`));
      }),
    ),
  );
});
