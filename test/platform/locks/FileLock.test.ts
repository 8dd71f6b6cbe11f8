import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  createReadStream,
  existsSync,
  linkSync,
  mkdirSync,
  promises,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Exit, Fiber, FileSystem, Layer, Option, Scope } from "effect";

import { FileLock } from "../../../src/platform/locks/FileLock.ts";
import type { LockMode } from "../../../src/platform/locks/HeldLock.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { memoryFileLock } from "../../support/files/MemoryFileLock.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";
import { failing, patchFiles } from "../../support/files/PatchedFiles.ts";
import { startProcess } from "../../support/processes/ChildProcess.ts";
import { pythonLock } from "../../support/processes/PythonLock.ts";
import { realPython } from "../../support/python/RealPython.ts";

const inMemory = () => {
  const memory = memoryFileSystem();
  return Layer.merge(memory.layer, memoryFileLock(memory).layer);
};

const onDisk = (variables: Readonly<Record<string, string | undefined>> = process.env) =>
  Layer.merge(NodeServices.layer, Layer.provide(FileLock.layer, Environment.layerOf(variables)));

/** Whether the lock can be acquired now. */
const isFree = Effect.fnUntraced(function* (path: string, mode: LockMode) {
  const locks = yield* FileLock;
  return Option.isSome(yield* Effect.scoped(locks.tryLock(path, mode)));
});

const inFolder = Effect.fnUntraced(function* <A, E, R>(
  body: (path: string) => Effect.Effect<A, E, R>,
) {
  const files = yield* FileSystem.FileSystem;
  return yield* body(`${yield* files.makeTempDirectoryScoped()}/.lock`);
}, Effect.scoped);

const suites: ReadonlyArray<
  readonly [name: string, make: () => Layer.Layer<FileLock | FileSystem.FileSystem>]
> = [
  ["in memory", inMemory],
  ["of the system", onDisk],
  ["on the network volume", () => onDisk({ ...process.env, RUNPOD_VOLUME_PATH: tmpdir() })],
];

describe.each(suites)("a file lock %s", (_, make) => {
  it.effect("that is exclusive excludes all others", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        const locks = yield* FileLock;
        assert.isTrue(Option.isSome(yield* locks.tryLock(path, "exclusive")));
        assert.isFalse(yield* isFree(path, "exclusive"));
        assert.isFalse(yield* isFree(path, "shared"));
      }),
    ).pipe(Effect.provide(make())),
  );

  it.effect("that is shared allows other shared locks and excludes exclusive ones", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        const locks = yield* FileLock;
        yield* locks.tryLock(path, "shared");
        assert.isTrue(Option.isSome(yield* locks.tryLock(path, "shared")));
        assert.isFalse(yield* isFree(path, "exclusive"));
      }),
    ).pipe(Effect.provide(make())),
  );

  it.effect("is released when the scope of its last holder closes", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        const locks = yield* FileLock;
        const [first, second] = [yield* Scope.make(), yield* Scope.make()];
        yield* Scope.provide(locks.tryLock(path, "shared"), first);
        yield* Scope.provide(locks.tryLock(path, "shared"), second);
        yield* Scope.close(first, Exit.void);
        assert.isFalse(yield* isFree(path, "exclusive"));
        yield* Scope.close(second, Exit.void);
        assert.isTrue(yield* isFree(path, "exclusive"));
      }),
    ).pipe(Effect.provide(make())),
  );

  it.effect("is released when its holder is interrupted or fails", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        const locks = yield* FileLock;
        const held = yield* Deferred.make<void>();
        const fiber = yield* locks
          .tryLock(path, "exclusive")
          .pipe(
            Effect.andThen(Deferred.succeed(held, undefined)),
            Effect.andThen(Effect.never),
            Effect.scoped,
            Effect.forkChild,
          );
        yield* Deferred.await(held);
        yield* Fiber.interrupt(fiber);
        assert.isTrue(yield* isFree(path, "exclusive"));
        yield* Effect.exit(
          Effect.scoped(Effect.andThen(locks.tryLock(path, "exclusive"), Effect.fail("no"))),
        );
        assert.isTrue(yield* isFree(path, "exclusive"));
      }),
    ).pipe(Effect.provide(make())),
  );

  it.effect("is acquired by only one of many concurrent tries", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        const locks = yield* FileLock;
        const tried = yield* Effect.all(
          Array.from({ length: 12 }, () => locks.tryLock(path, "exclusive")),
          { concurrency: "unbounded" },
        );
        assert.lengthOf(tried.filter(Option.isSome), 1);
      }),
    ).pipe(Effect.provide(make())),
  );

  it.effect("creates its file and never removes it", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        const files = yield* FileSystem.FileSystem;
        assert.isTrue(yield* isFree(path, "exclusive"));
        assert.isTrue(yield* files.exists(path));
        assert.isTrue(yield* isFree(`${path}-2`, "shared"));
        assert.isTrue(yield* files.exists(`${path}-2`));
      }),
    ).pipe(Effect.provide(make())),
  );

  it.effect("has the text of its holder in the file, readable by others", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        const locks = yield* FileLock;
        assert.deepStrictEqual(yield* locks.read(path), Option.none());
        const held = yield* locks.tryLock(path, "exclusive");
        assert.deepStrictEqual(yield* locks.read(path), Option.none());
        if (Option.isSome(held)) {
          yield* held.value.write("the first worker, with a long name");
          yield* held.value.write("the second");
        }
        assert.isFalse(yield* isFree(path, "exclusive"));
        assert.deepStrictEqual(yield* locks.read(path), Option.some("the second"));
      }),
    ).pipe(Effect.provide(make())),
  );

  it.effect("can't be acquired in a folder that does not exist", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(isFree(`${path}/no/.lock`, "exclusive"));
        assert.strictEqual(error._tag, "LockUnavailable");
        assert.include(error.message, `${path}/no/.lock can't be locked`);
      }),
    ).pipe(Effect.provide(make())),
  );
});

/** How often a file is open in this process. */
const descriptorsOf = (path: string) => {
  const { ino, dev } = statSync(path);
  return readdirSync("/proc/self/fd").filter((fd) => {
    const info = statSync(`/proc/self/fd/${fd}`, { throwIfNoEntry: false });
    return info?.ino === ino && info.dev === dev;
  }).length;
};

/**
 * Opening the file fails with ENOENT, and creating it with a code, this many times. EEXIST is what happens on MooseFS
 * when another worker creates the file between the two calls.
 */
const failToCreate = (file: string, times: number, code: string) => {
  const { open } = promises;
  const [isMissing, isRefused] = [failing("ENOENT"), failing(code)];
  let tries = 0;
  return Effect.acquireRelease(
    Effect.sync(() =>
      patchFiles({
        open: (path, ...rest) => {
          if (basename(String(path)) !== basename(file)) return open(path, ...rest);
          tries += 1;
          if (tries > 2 * times) return open(path, ...rest);
          return tries % 2 === 1 ? isMissing() : isRefused();
        },
      }),
    ),
    (restore) => Effect.sync(restore),
  );
};

/** PATH and PYTHONPATH are one folder with these scripts. */
const withPrograms = <E>(
  scripts: Readonly<Record<string, string>>,
  check: (path: string) => Effect.Effect<void, E, FileLock | Scope.Scope>,
) =>
  inFolder((path) => {
    const folder = `${path}-bin`;
    mkdirSync(folder);
    for (const [name, script] of Object.entries(scripts)) {
      writeFileSync(`${folder}/${name}`, script);
      chmodSync(`${folder}/${name}`, 0o755);
    }
    return check(path).pipe(Effect.provide(onDisk({ PATH: folder, PYTHONPATH: folder })));
  }).pipe(Effect.provide(NodeServices.layer));

describe("a file lock of the system", () => {
  it.effect("excludes a Python process that uses flock, and is excluded by it", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        const locks = yield* FileLock;
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* locks.tryLock(path, "exclusive");
            assert.strictEqual((yield* pythonLock(path)).state, "busy");
            assert.strictEqual((yield* pythonLock(path, "LOCK_SH")).state, "busy");
          }),
        );
        const python = yield* pythonLock(path, "LOCK_SH");
        assert.strictEqual(python.state, "held");
        assert.isFalse(yield* isFree(path, "exclusive"));
        assert.isTrue(yield* isFree(path, "shared"));
        assert.deepStrictEqual(yield* locks.read(path), Option.some("a Python worker"));
      }),
    ).pipe(Effect.provide(onDisk())),
  );

  it.effect("is released when its holder is killed, and the file is not replaced", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        const python = yield* pythonLock(path);
        const { ino } = statSync(path);
        assert.isFalse(yield* isFree(path, "exclusive"));
        yield* python.signal("SIGKILL");
        yield* python.ended;
        assert.isTrue(yield* isFree(path, "exclusive"));
        assert.strictEqual(statSync(path).ino, ino);
      }),
    ).pipe(Effect.provide(onDisk())),
  );

  it.effect("is not inherited by programs that the worker starts", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        const locks = yield* FileLock;
        const scope = yield* Scope.make();
        yield* Scope.provide(locks.tryLock(path, "exclusive"), scope);
        yield* startProcess("cat", [], { hasOpenStdin: true });
        yield* Scope.close(scope, Exit.void);
        assert.isTrue(yield* isFree(path, "exclusive"));
      }).pipe(Effect.scoped),
    ).pipe(Effect.provide(onDisk())),
  );

  it.effect.skipIf(process.platform !== "linux")(
    "closes its file when the scope closes, whether it was acquired or not",
    () =>
      inFolder((path) =>
        Effect.gen(function* () {
          const locks = yield* FileLock;
          yield* Effect.scoped(
            Effect.gen(function* () {
              yield* locks.tryLock(path, "exclusive");
              for (let turn = 0; turn < 5; turn += 1) {
                assert.isFalse(yield* isFree(path, "exclusive"));
              }
              assert.strictEqual(descriptorsOf(path), 1);
              // Interrupted while the program that locks is being started.
              const fiber = yield* Effect.forkChild(isFree(path, "exclusive"));
              yield* Effect.yieldNow;
              yield* Fiber.interrupt(fiber);
              assert.strictEqual(descriptorsOf(path), 1);
            }),
          );
          assert.strictEqual(descriptorsOf(path), 0);
        }),
      ).pipe(Effect.provide(onDisk())),
  );

  it.effect.each([
    [
      "a link to a file",
      (path: string) => symlinkSync(`${path}.foreign`, path),
      /contains a symbolic link/,
    ],
    [
      "a link to nothing",
      (path: string) => symlinkSync(`${path}.missing`, path),
      /contains a symbolic link/,
    ],
    ["a pipe", (path: string) => execFileSync("mkfifo", [path]), /not a regular file/],
    ["a folder", (path: string) => mkdirSync(path), /folder|EISDIR/],
  ] as ReadonlyArray<readonly [string, (path: string) => void, RegExp]>)(
    "fails at once, and reads and changes nothing, if its path is %s",
    ([, plant, reason]) =>
      inFolder((path) =>
        Effect.gen(function* () {
          const locks = yield* FileLock;
          writeFileSync(`${path}.foreign`, "precious");
          plant(path);
          const error = yield* Effect.flip(locks.tryLock(path, "exclusive"));
          assert.match(error.message, reason);
          assert.strictEqual(readFileSync(`${path}.foreign`, "utf8"), "precious");
          assert.isFalse(existsSync(`${path}.missing`));
          assert.deepStrictEqual(yield* locks.read(path), Option.none());
        }),
      ).pipe(Effect.provide(onDisk())),
  );

  it.effect("fails and changes nothing if its file has another hard link", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        writeFileSync(`${path}.foreign`, "precious");
        linkSync(`${path}.foreign`, path);
        const error = yield* Effect.flip((yield* FileLock).tryLock(path, "exclusive"));
        assert.match(error.message, /hard link/);
        assert.strictEqual(readFileSync(`${path}.foreign`, "utf8"), "precious");
      }),
    ).pipe(Effect.provide(onDisk())),
  );

  it.effect.each([
    ["is acquired after another worker was first to create its file four times", 4, "EEXIST", true],
    ["fails when another worker is first to create its file each time", 5, "EEXIST", false],
    ["fails at once when its file can't be created", 1, "EACCES", false],
  ] as const)("%s", ([, times, code, isAcquired]) =>
    inFolder((path) =>
      Effect.gen(function* () {
        const locks = yield* FileLock;
        yield* failToCreate(path, times, code);
        const held = yield* Effect.option(locks.tryLock(path, "exclusive"));
        assert.strictEqual(Option.isSome(Option.flatten(held)), isAcquired);
      }),
    ).pipe(Effect.provide(onDisk())),
  );

  it.effect("returns the holder without control characters", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        writeFileSync(path, `\u001b[31mpid 1\u202e\r\nfake${"x".repeat(1000)}`);
        const holder = Option.getOrThrow(yield* (yield* FileLock).read(path));
        assert.match(holder, /^\[31mpid 1 +fakex+$/);
        assert.isAtMost(holder.length, 200);
        if (process.platform === "linux") assert.strictEqual(descriptorsOf(path), 0);
      }),
    ).pipe(Effect.provide(onDisk())),
  );

  it.effect("is acquired by all workers that create the same file at once", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        const locks = yield* FileLock;
        const all = yield* Effect.all(
          Array.from({ length: 10 }, () => locks.tryLock(path, "shared")),
          { concurrency: "unbounded" },
        );
        assert.isTrue(all.every(Option.isSome));
      }),
    ).pipe(Effect.provide(onDisk())),
  );

  describe("by programs on PATH", () => {
    it.effect("uses Python without PYTHONPATH if flock is missing", () =>
      withPrograms(
        {
          python3: `#!/bin/sh\nexec ${realPython} "$@"\n`,
          "sitecustomize.py": "import os\nos._exit(7)\n",
        },
        (path) =>
          Effect.gen(function* () {
            const locks = yield* FileLock;
            for (const mode of ["exclusive", "shared"] as const) {
              yield* Effect.scoped(
                Effect.gen(function* () {
                  assert.isTrue(Option.isSome(yield* locks.tryLock(path, mode)));
                  assert.isFalse(yield* isFree(path, "exclusive"));
                  assert.strictEqual(yield* isFree(path, "shared"), mode === "shared");
                }),
              );
            }
          }),
      ),
    );

    it.effect("fails with what to install if both are missing", () =>
      withPrograms({}, (path) =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(isFree(path, "exclusive"));
          assert.include(error.message, "neither flock (of util-linux) nor python3 is on PATH");
        }),
      ),
    );

    it.effect("distinguishes a failed program from a held lock", () =>
      withPrograms(
        { flock: "#!/bin/sh\necho 'flock: 3: Function not implemented' >&2\nexit 1\n" },
        (path) =>
          Effect.gen(function* () {
            const error = yield* Effect.flip(isFree(path, "exclusive"));
            assert.strictEqual(
              error.message,
              `${path} can't be locked: flock: 3: Function not implemented`,
            );
          }),
      ),
    );

    it.effect.each([
      ["exits with an unknown code", "#!/bin/sh\nexit 3\n", /exited with 3$/],
      ["can't be started", "#!/nonexistent\n", /ENOENT/],
    ] as const)("fails if the program %s", ([, flock, reason]) =>
      withPrograms({ flock }, (path) =>
        Effect.gen(function* () {
          assert.match((yield* Effect.flip(isFree(path, "exclusive"))).message, reason);
        }),
      ),
    );

    it.effect("kills the program when the try is interrupted", () =>
      withPrograms(
        { flock: '#!/bin/sh\nexec > "$0.pipe"\necho started\nexec /bin/sleep 60\n' },
        (path) =>
          Effect.gen(function* () {
            execFileSync("mkfifo", [`${path}-bin/flock.pipe`]);
            const fiber = yield* Effect.forkChild(isFree(path, "exclusive"));
            const output = createReadStream(`${path}-bin/flock.pipe`);
            yield* Effect.promise(() => once(output, "data"));
            const ended = once(output, "end");
            yield* Fiber.interrupt(fiber);
            yield* Effect.promise(() => ended);
          }),
      ),
    );
  });
});
