import { execFileSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  promises,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it, vi } from "@effect/vitest";
import { Context, Effect, FileSystem, Layer } from "effect";

import { codeOf } from "../../../src/platform/ErrorCode.ts";
import { safeFileSystem } from "../../../src/platform/files/SafeFileSystem.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { openFilesBelow } from "../../support/files/OpenFiles.ts";
import { failing, patchFiles } from "../../support/files/PatchedFiles.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { startProcess } from "../../support/processes/ChildProcess.ts";
import { realPython } from "../../support/python/RealPython.ts";

/** For many system calls on a busy machine. */
const SLOW = { timeout: 60_000 };

/** The file system with these settings, until the scope closes. */
const fileSystemOf = Effect.fnUntraced(function* (variables: Readonly<Record<string, string>>) {
  const services = yield* Layer.build(
    safeFileSystem.pipe(
      Layer.provide(Environment.layerOf({ PATH: process.env["PATH"], ...variables })),
      Layer.provide(NodeServices.layer),
    ),
  );
  return Context.get(services, FileSystem.FileSystem);
});

/** A volume or workspace that others can write to, and a folder next to it that must not change. */
const machineWith = Effect.fnUntraced(function* (setting: string) {
  const folder = yield* temporaryFolder;
  const volume = join(folder, "volume");
  const outside = join(folder, "outside");
  for (const path of [volume, join(outside, "sub")]) mkdirSync(path, { recursive: true });
  writeFileSync(join(outside, "file"), "precious");
  writeFileSync(join(outside, "sub", "file"), "precious");
  const files = yield* fileSystemOf({ HOME: folder, [setting]: volume });
  return {
    files,
    volume,
    outside,
    assertUntouched: () => {
      assert.deepStrictEqual(readdirSync(outside).toSorted(), ["file", "sub"]);
      assert.deepStrictEqual(readdirSync(join(outside, "sub")), ["file"]);
      assert.strictEqual(readFileSync(join(outside, "file"), "utf8"), "precious");
      assert.strictEqual(readFileSync(join(outside, "sub", "file"), "utf8"), "precious");
    },
  };
});

type Machine = Effect.Success<ReturnType<typeof machineWith>>;

/** Replaces functions of `node:fs/promises` until the scope closes. */
const withPatches = (...patches: Parameters<typeof patchFiles>) =>
  Effect.acquireRelease(
    Effect.sync(() => patchFiles(...patches)),
    (restore) => Effect.sync(restore),
  );

/** All operations that change something below `<volume>/a/b/c`. */
const CHANGES: ReadonlyArray<
  readonly [string, (machine: Machine, folder: string) => Effect.Effect<unknown, unknown>]
> = [
  ["writeFile", ({ files }, folder) => files.writeFileString(join(folder, "file"), "x")],
  [
    "a new file",
    ({ files }, folder) => files.writeFileString(join(folder, "new"), "x", { flag: "wx" }),
  ],
  [
    "makeDirectory",
    ({ files }, folder) => files.makeDirectory(join(folder, "x", "y"), { recursive: true }),
  ],
  ["makeDirectory alone", ({ files }, folder) => files.makeDirectory(join(folder, "x"))],
  ["symlink", ({ files }, folder) => files.symlink("/", join(folder, "x"))],
  ["remove", ({ files }, folder) => files.remove(join(folder, "file"))],
  [
    "remove of a folder",
    ({ files }, folder) => files.remove(join(folder, "sub"), { recursive: true, force: true }),
  ],
  [
    "rename from",
    ({ files, volume }, folder) => files.rename(join(folder, "file"), join(volume, "x")),
  ],
  [
    "rename to",
    ({ files, volume }, folder) => {
      writeFileSync(join(volume, "own"), "x");
      return files.rename(join(volume, "own"), join(folder, "file"));
    },
  ],
  [
    "copyFile",
    ({ files, volume }, folder) => {
      writeFileSync(join(volume, "own"), "x");
      return files.copyFile(join(volume, "own"), join(folder, "file"));
    },
  ],
  ["chmod", ({ files }, folder) => files.chmod(join(folder, "file"), 0o777)],
];

/** The settings of the folders: the network volume is used by another process. */
const SETTINGS = ["RUNPOD_VOLUME_PATH", "WORKER_WORKSPACE_PATH"];

describe.each(SETTINGS)("the file system for folders that jobs can write to, in %s", (setting) => {
  const machine = machineWith(setting);
  /** Tests that patch Node's functions. */
  const inNode = it.live.skipIf(setting === "RUNPOD_VOLUME_PATH");

  for (const level of [1, 2, 3]) {
    it.live.each(CHANGES)(`does not follow a link at level ${level} of a path: %s`, ([, change]) =>
      Effect.gen(function* () {
        const made = yield* machine;
        const parts = ["a", "b", "c"];
        const above = join(made.volume, ...parts.slice(0, level - 1));
        mkdirSync(above, { recursive: true });
        // The target of the link must not change.
        symlinkSync(made.outside, join(above, parts[level - 1] ?? ""));
        const rest = parts.slice(level);
        if (rest.length > 0) {
          const through = join(made.outside, "..", "through");
          mkdirSync(join(through, ...rest.slice(0, -1)), { recursive: true });
          symlinkSync(made.outside, join(through, ...rest));
          rmSync(join(above, parts[level - 1] ?? ""));
          symlinkSync(through, join(above, parts[level - 1] ?? ""));
        }
        const error = yield* Effect.flip(change(made, join(made.volume, ...parts)));
        assert.strictEqual(codeOf(error), "ELOOP");
        made.assertUntouched();
      }).pipe(Effect.scoped),
    );
  }

  it.live("works as usual without links", () =>
    Effect.gen(function* () {
      const { files, volume } = yield* machine;
      const folder = join(volume, "a", "b");
      yield* files.makeDirectory(folder, { recursive: true });
      yield* files.makeDirectory(folder, { recursive: true });
      yield* files.writeFileString(join(folder, "one"), "longer text", { mode: 0o600 });
      yield* files.writeFileString(join(folder, "one"), "text");
      assert.strictEqual(lstatSync(join(folder, "one")).mode & 0o777, 0o600);
      yield* files.chmod(join(folder, "one"), 0o640);
      assert.strictEqual(lstatSync(join(folder, "one")).mode & 0o777, 0o640);
      yield* files.copyFile(join(folder, "one"), join(folder, "two"));
      yield* files.rename(join(folder, "two"), join(volume, "three"));
      yield* files.symlink("three", join(volume, "link"));
      assert.strictEqual(yield* files.readFileString(join(volume, "link")), "text");
      const again = files.writeFileString(join(folder, "one"), "x", { flag: "wx" });
      assert.strictEqual(codeOf(yield* Effect.flip(again)), "EEXIST");
      yield* files.remove(join(volume, "link"));
      yield* files.remove(join(volume, "a"), { recursive: true });
      yield* files.remove(join(volume, "a"), { recursive: true, force: true });
      assert.strictEqual(codeOf(yield* Effect.flip(files.remove(join(volume, "a")))), "ENOENT");
      assert.deepStrictEqual(readdirSync(volume), ["three"]);
      assert.strictEqual(openFilesBelow(volume), 0);
    }).pipe(Effect.scoped),
  );

  it.live("creates no parents and removes no content unless recursive", () =>
    Effect.gen(function* () {
      const { files, volume } = yield* machine;
      const folder = join(volume, "a");
      const missing = yield* Effect.flip(files.makeDirectory(join(folder, "b")));
      assert.strictEqual(missing.reason._tag, "NotFound");
      yield* files.makeDirectory(folder, { mode: 0o700 });
      assert.strictEqual(lstatSync(folder).mode & 0o777, 0o700);
      const twice = yield* Effect.flip(files.makeDirectory(folder));
      assert.strictEqual(twice.reason._tag, "AlreadyExists");
      yield* Effect.flip(files.remove(folder));
      assert.isTrue(existsSync(folder));
    }).pipe(Effect.scoped),
  );

  it.live("copies over an existing file", () =>
    Effect.gen(function* () {
      const { files, volume } = yield* machine;
      writeFileSync(join(volume, "from"), "new");
      writeFileSync(join(volume, "to"), "old and longer");
      yield* files.copyFile(join(volume, "from"), join(volume, "to"));
      assert.strictEqual(readFileSync(join(volume, "to"), "utf8"), "new");
    }).pipe(Effect.scoped),
  );

  it.live.skipIf(process.platform !== "linux" || setting === "RUNPOD_VOLUME_PATH")(
    "copies between the opened files even if they are replaced by links",
    () =>
      Effect.gen(function* () {
        const { files, volume, outside, assertUntouched } = yield* machine;
        const [from, to] = [join(volume, "from"), join(volume, "to")];
        writeFileSync(from, "own");
        const { copyFile } = promises;
        yield* withPatches({
          copyFile: (...paths) => {
            renameSync(to, join(volume, "moved"));
            for (const path of [from, to]) {
              rmSync(path, { force: true });
              symlinkSync(join(outside, "file"), path);
            }
            return copyFile(...paths);
          },
        });
        yield* files.copyFile(from, to);
        assertUntouched();
        assert.strictEqual(readFileSync(join(volume, "moved"), "utf8"), "own");
      }).pipe(Effect.scoped),
  );

  it.live.each(["a", "r+"] as const)("does not support flags that may follow links: %s", (flag) =>
    Effect.gen(function* () {
      const { files, volume } = yield* machine;
      writeFileSync(join(volume, "file"), "text");
      const write = files.writeFileString(join(volume, "file"), "x", { flag });
      assert.include((yield* Effect.flip(write)).message, `flag ${flag} `);
      assert.strictEqual(readFileSync(join(volume, "file"), "utf8"), "text");
    }).pipe(Effect.scoped),
  );

  it.live("accepts a volume whose path is a link", () =>
    Effect.gen(function* () {
      const { volume } = yield* machine;
      const link = `${volume}-link`;
      symlinkSync(volume, link);
      const files = yield* fileSystemOf({ HOME: "/nonexistent", RUNPOD_VOLUME_PATH: link });
      yield* files.makeDirectory(link, { recursive: true });
      yield* files.makeDirectory(join(link, "runtimes", "x"), { recursive: true });
      assert.isTrue(existsSync(join(volume, "runtimes", "x")));
    }).pipe(Effect.scoped),
  );

  it.live("does not write to links, pipes, devices or files with another hard link", () =>
    Effect.gen(function* () {
      const { files, volume, outside, assertUntouched } = yield* machine;
      symlinkSync(join(outside, "file"), join(volume, "link"));
      linkSync(join(outside, "file"), join(volume, "hard"));
      execFileSync("mkfifo", [join(volume, "pipe")]);
      for (const name of ["link", "hard", "pipe"]) {
        yield* Effect.flip(files.writeFileString(join(volume, name), "x"));
      }
      // Only root can create a device. This one is that of /dev/null.
      if (process.getuid?.() === 0) {
        execFileSync("mknod", [join(volume, "device"), "c", "1", "3"]);
        yield* Effect.flip(files.writeFileString(join(volume, "device"), "x"));
      }
      for (const name of ["link", "pipe"]) {
        yield* Effect.flip(files.copyFile(join(volume, name), join(volume, "copy")));
      }
      assertUntouched();
    }).pipe(Effect.scoped),
  );

  it.live("changes no mode of a link's target, and does not block on a pipe", () =>
    Effect.gen(function* () {
      const { files, volume, outside } = yield* machine;
      const { mode } = statSync(join(outside, "file"));
      symlinkSync(join(outside, "file"), join(volume, "link"));
      const error = yield* Effect.flip(files.chmod(join(volume, "link"), 0o777));
      assert.strictEqual(codeOf(error), "ELOOP");
      assert.strictEqual(statSync(join(outside, "file")).mode, mode);
      execFileSync("mkfifo", [join(volume, "pipe")]);
      yield* files.chmod(join(volume, "pipe"), 0o600);
      assert.strictEqual(statSync(join(volume, "pipe")).mode & 0o777, 0o600);
    }).pipe(Effect.scoped),
  );

  it.live("does not read pipes, which block, or devices, which may be endless", () =>
    Effect.gen(function* () {
      const { files, volume } = yield* machine;
      execFileSync("mkfifo", [join(volume, "pipe")]);
      symlinkSync("/dev/null", join(volume, "device"));
      for (const name of ["pipe", "device"]) {
        const error = yield* Effect.flip(files.readFileString(join(volume, name)));
        assert.include(error.message, "not a regular file");
      }
    }).pipe(Effect.scoped),
  );

  it.live("removes links, pipes and hard links at every level of a folder, but no targets", () =>
    Effect.gen(function* () {
      const { files, volume, outside, assertUntouched } = yield* machine;
      const deep = join(volume, "gone", "x", "y");
      mkdirSync(deep, { recursive: true });
      for (const folder of [join(volume, "gone"), join(volume, "gone", "x"), deep]) {
        symlinkSync(outside, join(folder, "link"));
        symlinkSync("../../../outside", join(folder, "relative"));
        linkSync(join(outside, "file"), join(folder, "hard"));
        execFileSync("mkfifo", [join(folder, "pipe")]);
      }
      yield* files.remove(join(volume, "gone"), { recursive: true });
      assert.deepStrictEqual(readdirSync(volume), []);
      symlinkSync(outside, join(volume, "link"));
      yield* files.remove(join(volume, "link"), { recursive: true });
      assertUntouched();
    }).pipe(Effect.scoped),
  );

  it.live(
    "removes very deep and very wide folders",
    () =>
      Effect.gen(function* () {
        const { files, volume } = yield* machine;
        // The path is longer than the system allows, so each level is created in the current directory.
        execFileSync(realPython, [
          "-I",
          "-c",
          "import os, sys\nos.chdir(sys.argv[1])\nfor _ in range(400):\n  os.mkdir('d'); os.chdir('d')\n  open('f', 'w').close()",
          volume,
        ]);
        mkdirSync(join(volume, "wide"));
        for (let index = 0; index < 1000; index += 1)
          writeFileSync(join(volume, "wide", `${index}`), "");
        yield* files.remove(join(volume, "d"), { recursive: true });
        yield* files.remove(join(volume, "wide"), { recursive: true });
        assert.deepStrictEqual(readdirSync(volume), []);
      }).pipe(Effect.scoped),
    SLOW,
  );

  it.live(
    "changes nothing outside while another process replaces folders by links",
    () =>
      Effect.gen(function* () {
        const { files, volume, outside, assertUntouched } = yield* machine;
        const swapped = join(volume, "gone", "a", "swapped");
        const aside = join(volume, "aside");
        const swapper = yield* startProcess(realPython, [
          "-I",
          "-c",
          // Swaps the folder and the link as fast as possible until this process ends.
          "import os, sys\nswapped, aside, outside = sys.argv[1:]\ntests = os.getppid()\nprint('ready', flush=True)\nwhile os.getppid() == tests:\n  try:\n    os.makedirs(swapped + '/sub', exist_ok=True)\n    os.rename(swapped, aside)\n    os.symlink(outside, swapped)\n    os.unlink(swapped)\n    os.rename(aside, swapped)\n  except OSError:\n    pass",
          swapped,
          aside,
          outside,
        ]);
        yield* swapper.wrote("ready");
        for (let tries = 0; tries < 30; tries += 1) {
          // The removal may fail while another process keeps writing, but must not remove anything else.
          yield* Effect.ignore(
            files.remove(join(volume, "gone"), { recursive: true, force: true }),
          );
          yield* Effect.ignore(
            files.makeDirectory(join(swapped, "sub", "new"), { recursive: true }),
          );
          yield* Effect.ignore(files.writeFileString(join(swapped, "sub", "file"), "bad"));
          yield* Effect.ignore(
            files.remove(join(swapped, "sub"), { recursive: true, force: true }),
          );
          assertUntouched();
        }
      }).pipe(Effect.scoped),
    SLOW,
  );

  describe("creates a temporary folder", () => {
    /** The system's folder for them is missing until the scope closes. */
    const withoutTmpdir = Effect.acquireRelease(
      Effect.sync(() => vi.stubEnv("TMPDIR", "/nonexistent")),
      () => Effect.sync(() => vi.unstubAllEnvs()),
    );

    it.live.skipIf(process.platform !== "linux")("in memory if TMPDIR is missing", () =>
      Effect.gen(function* () {
        const { files } = yield* machine;
        yield* withoutTmpdir;
        const folder = yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-" });
        assert.match(folder, /^\/dev\/shm\/worker-tetra-/);
      }).pipe(Effect.scoped),
    );

    inNode("in the workspace if no other folder is writable", () =>
      Effect.gen(function* () {
        const { files, volume } = yield* machine;
        yield* withoutTmpdir;
        const { mkdir } = promises;
        const denied = failing("EACCES");
        yield* withPatches({
          mkdir: async (path) => {
            await (realpathSync(dirname(String(path))) === volume ? mkdir(path) : denied());
            return undefined;
          },
        });
        for (let turn = 0; turn < 2; turn += 1) {
          const folder = yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-" });
          assert.strictEqual(dirname(folder), join(volume, ".worker-tetra-tmp"));
        }
      }).pipe(Effect.scoped),
    );

    it.live("only in the given folder", () =>
      Effect.gen(function* () {
        const { files } = yield* machine;
        const directory = "/nonexistent";
        const error = yield* Effect.flip(files.makeTempDirectoryScoped({ directory }));
        assert.strictEqual(error.reason._tag, "NotFound");
      }).pipe(Effect.scoped),
    );

    it.live.skipIf(setting !== "RUNPOD_VOLUME_PATH")("on the volume as a last resort", () =>
      Effect.gen(function* () {
        const { files, volume } = yield* machine;
        yield* withoutTmpdir;
        yield* withPatches({ mkdir: failing("EACCES") });
        const folder = yield* files.makeTempDirectoryScoped();
        assert.strictEqual(dirname(folder), join(volume, ".worker-tetra-tmp"));
      }).pipe(Effect.scoped),
    );

    inNode("or fails with the error of TMPDIR", () =>
      Effect.gen(function* () {
        const { files } = yield* machine;
        yield* withoutTmpdir;
        yield* withPatches({ mkdir: failing("EACCES") });
        const error = yield* Effect.flip(files.makeTempDirectoryScoped());
        assert.strictEqual(error.reason._tag, "NotFound");
      }).pipe(Effect.scoped),
    );

    inNode("and succeeds even if it can't be removed", () =>
      Effect.gen(function* () {
        const { files, volume } = yield* machine;
        yield* withPatches({ rmdir: failing("EIO") });
        const folder = yield* Effect.scoped(files.makeTempDirectoryScoped({ directory: volume }));
        assert.isTrue(existsSync(folder));
      }).pipe(Effect.scoped),
    );
  });

  it.live("removes temporary folders without following links", () =>
    Effect.gen(function* () {
      const { files, outside, assertUntouched } = yield* machine;
      const folder = yield* Effect.scoped(
        Effect.gen(function* () {
          const made = yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-" });
          symlinkSync(outside, join(made, "link"));
          return made;
        }),
      );
      assert.isFalse(existsSync(folder));
      // If the folder itself is replaced by a link, only the link is removed.
      yield* Effect.scoped(
        Effect.gen(function* () {
          const made = yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-" });
          renameSync(made, join(outside, "..", "moved"));
          symlinkSync(outside, made);
          assert.strictEqual(readlinkSync(made), outside);
        }),
      );
      assertUntouched();
    }).pipe(Effect.scoped),
  );
});
