import { execFileSync } from "node:child_process";
import {
  constants,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  promises,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";

import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest";

import {
  inParent,
  isBelow,
  makeFolders,
  openFile,
} from "../../../../src/platform/files/safe/SafePaths.ts";
import { removeAll } from "../../../../src/platform/files/safe/SafeRemoval.ts";
import { openFilesBelow } from "../../../support/files/OpenFiles.ts";
import { failing, patchFiles } from "../../../support/files/PatchedFiles.ts";
import { makeTemporaryFolder, removeFolder } from "../../../support/files/TemporaryFolder.ts";

const isLinux = process.platform === "linux";

/** A volume with a folder, and a folder outside of it whose file must not be changed. */
const setUp = () => {
  const root = makeTemporaryFolder();
  const volume = join(root, "volume");
  const folder = join(volume, "endpoint");
  const outside = join(root, "outside");
  for (const one of [folder, outside]) {
    mkdirSync(one, { recursive: true });
    writeFileSync(join(one, "file"), "precious");
  }
  return {
    root,
    volume,
    folder,
    outside,
    /** Replaces the folder by a link, as another endpoint may do after the worker has opened it. */
    swap: () => {
      renameSync(folder, `${folder}-moved`);
      symlinkSync(outside, folder);
    },
  };
};

let made: ReturnType<typeof setUp>;
let restore = () => {};

/** Replaces functions of the file system until the end of the test. */
const patch = (...patches: Parameters<typeof patchFiles>) => {
  restore = patchFiles(...patches);
};

beforeEach(() => {
  made = setUp();
  return () => removeFolder(made.root);
});

afterEach(() => {
  restore();
  restore = () => {};
  assert.strictEqual(openFilesBelow(made.root), 0, "files were left open");
  assert.deepStrictEqual(readdirSync(made.outside), ["file"]);
  assert.strictEqual(readFileSync(join(made.outside, "file"), "utf8"), "precious");
});

/** The code and the path of the error that an action fails with. */
const failure = (
  action: Promise<unknown>,
): Promise<{ readonly code: string; readonly path: string }> =>
  action.then(
    () => assert.fail("it did not fail"),
    ({ code, path }) => ({ code, path }),
  );

const codeOf = async (action: Promise<unknown>) => (await failure(action)).code;

describe("isBelow", () => {
  it.each([
    ["/volume", "/volume/x", true],
    ["/volume", "/volume/x/y", true],
    ["/volume/", "/volume/x", true],
    ["/volume", "/volume", false],
    ["/volume", "/volume2/x", false],
    ["/volume", "/volume/../x", false],
    ["/volume", "/x/../volume/x", true],
    ["/", "/x", true],
    ["/", "/", false],
    [".", "x", true],
  ])("for root %s and path %s returns %s", (root, path, expected) => {
    assert.strictEqual(isBelow(["/other", root], path), expected);
    assert.isFalse(isBelow([], path));
  });
});

describe.runIf(isLinux)(
  "inParent, if the folder is replaced by a link after it was opened,",
  () => {
    it("removes the file in the original folder, not in the link's target", async () => {
      const { volume, folder, swap } = made;
      await inParent([volume], join(folder, "file"), async (at) => {
        swap();
        await promises.unlink(at);
      });
      assert.isFalse(existsSync(join(`${folder}-moved`, "file")));
    });

    it("creates a file in the original folder", async () => {
      const { volume, folder, swap } = made;
      await inParent([volume], join(folder, "new"), async (at) => {
        swap();
        await promises.writeFile(at, "text", { flag: "wx" });
      });
      assert.strictEqual(readFileSync(join(`${folder}-moved`, "new"), "utf8"), "text");
    });
  },
);

describe("a path that contains a link", () => {
  it("is refused below a root, with the link's path", async () => {
    const { volume, folder, outside } = made;
    symlinkSync(outside, join(folder, "link"));
    const action = inParent([volume], join(folder, "link", "file"), (at) => promises.unlink(at));
    assert.deepStrictEqual(await failure(action), { code: "ELOOP", path: join(folder, "link") });
  });

  it.each([
    ["last", () => [made.folder, made.volume]],
    ["first", () => [made.volume, made.folder]],
  ])("is opened from the outermost root if that comes %s", async (_, roots) => {
    made.swap();
    const action = inParent(roots(), join(made.folder, "file"), (at) => promises.unlink(at));
    assert.strictEqual(await codeOf(action), "ELOOP");
  });

  it.each([
    ["if the link is above the root", () => [join(made.root, "link")]],
    ["if there is no root", () => []],
  ])("is trusted %s", async (_, roots) => {
    const link = join(made.root, "link");
    symlinkSync(made.volume, link);
    const path = join(link, "endpoint", "file");
    const text = await inParent(roots(), path, (at) => promises.readFile(at, "utf8"));
    assert.strictEqual(text, "precious");
  });

  it.each([
    ["a file instead of a folder", "file/x/y", "ENOTDIR"],
    ["a missing folder", "missing/x/y", "ENOENT"],
  ])("is distinguished from a path with %s", async (_, path, code) => {
    const { volume, folder } = made;
    const action = inParent([volume], join(folder, path), async () => {});
    assert.strictEqual(await codeOf(action), code);
  });
});

describe("makeFolders", () => {
  it.each([
    ["below a root", (): ReadonlyArray<string> => [made.volume]],
    ["below a root that is missing", (): ReadonlyArray<string> => [join(made.volume, "new")]],
    ["outside of all roots", (): ReadonlyArray<string> => []],
  ])("creates folders with their mode once %s", async (_, roots) => {
    const path = join(made.volume, "new", "x", "y");
    await makeFolders(roots(), path, 0o700);
    writeFileSync(join(path, "file"), "");
    await makeFolders(roots(), path, 0o755);
    for (const folder of [path, dirname(path), dirname(dirname(path))]) {
      assert.strictEqual(lstatSync(folder).mode & 0o777, 0o700);
    }
    assert.deepStrictEqual(readdirSync(path), ["file"]);
  });

  it("fails if a part of the path is a file or a link", async () => {
    const { volume, folder, swap } = made;
    assert.strictEqual(await codeOf(makeFolders([volume], join(folder, "file", "x"))), "ENOTDIR");
    assert.strictEqual(await codeOf(makeFolders([], join(folder, "file", "x"))), "ENOTDIR");
    swap();
    assert.strictEqual(await codeOf(makeFolders([volume], join(folder, "x"))), "ELOOP");
  });

  it.each([
    ["below a root", (): ReadonlyArray<string> => [made.volume]],
    ["outside of all roots", (): ReadonlyArray<string> => []],
  ])("fails with the disk's error %s", async (_, roots) => {
    patch({ mkdir: failing("EROFS") });
    assert.strictEqual(await codeOf(makeFolders(roots(), join(made.folder, "x", "y"))), "EROFS");
  });
});

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL } = constants;

const openIn = (name: string, flags: number, mode?: number) =>
  openFile([made.volume], join(made.folder, name), flags, mode);

describe("openFile", () => {
  it("reads, writes and creates files with a mode", async () => {
    const reader = await openIn("file", O_RDONLY);
    assert.strictEqual(await reader.readFile("utf8"), "precious");
    await reader.close();
    const writer = await openIn("new", O_WRONLY | O_CREAT | O_EXCL, 0o600);
    await writer.writeFile("text");
    await writer.close();
    assert.strictEqual(readFileSync(join(made.folder, "new"), "utf8"), "text");
    assert.strictEqual(lstatSync(join(made.folder, "new")).mode & 0o777, 0o600);
  });

  it.each([
    ["a link", O_RDONLY, "ELOOP", (path: string) => symlinkSync(join(made.outside, "file"), path)],
    ["a pipe", O_RDONLY, "EINVAL", (path: string) => execFileSync("mkfifo", [path])],
    ["a folder", O_RDONLY, "EINVAL", (path: string) => mkdirSync(path)],
    ["a missing file", O_RDONLY, "ENOENT", () => {}],
    ...[O_WRONLY, O_RDWR].map(
      (flags) =>
        [
          "a file with another hard link, for writing",
          flags,
          "EMLINK",
          (path: string) => linkSync(join(made.outside, "file"), path),
        ] as const,
    ),
  ] as const)("fails for %s", async (_, flags, code, plant) => {
    const path = join(made.folder, "x");
    plant(path);
    assert.deepInclude(await failure(openIn("x", flags)), {
      code,
      ...(code === "ENOENT" ? {} : { path }),
    });
  });

  it("reads a file with another hard link", async () => {
    linkSync(join(made.outside, "file"), join(made.folder, "x"));
    const handle = await openIn("x", O_RDONLY);
    assert.strictEqual(await handle.readFile("utf8"), "precious");
    await handle.close();
  });
});

const remove = (path: string) => removeAll([made.volume], path);

describe("removeAll", () => {
  it("removes a file, a link, and a folder with its content, but no targets of links", async () => {
    const { volume, folder, outside } = made;
    const deep = join(folder, "x", "y");
    mkdirSync(deep, { recursive: true });
    mkdirSync(join(folder, "empty"));
    for (const one of [folder, deep]) {
      symlinkSync(outside, join(one, "link"));
      linkSync(join(outside, "file"), join(one, "hard"));
      for (let index = 0; index < 70; index += 1) writeFileSync(join(one, `${index}`), "");
    }
    await remove(join(folder, "file"));
    await remove(join(folder, "link"));
    assert.isFalse(existsSync(join(folder, "file")));
    await remove(folder);
    assert.deepStrictEqual(readdirSync(volume), []);
    assert.strictEqual(await codeOf(remove(folder)), "ENOENT");
  });

  it("removes each file of a wide folder once, at most 32 at a time", async () => {
    const { volume, folder } = made;
    for (let index = 1; index < 100; index += 1) writeFileSync(join(folder, `${index}`), "");
    const { open, unlink } = promises;
    let [opened, removed, running, most] = [0, 0, 0, 0];
    patch({
      open: (...args) => {
        opened += 1;
        return open(...args);
      },
      unlink: async (path) => {
        removed += 1;
        running += 1;
        most = Math.max(most, running);
        await unlink(path);
        running -= 1;
      },
    });
    await remove(folder);
    assert.deepStrictEqual(readdirSync(volume), []);
    assert.strictEqual(removed, 100);
    assert.isAtMost(most, 32);
    // The volume and the folder.
    assert.strictEqual(opened, 2);
  });

  it("opens few folders at a time for a deep folder", async () => {
    const { volume, folder } = made;
    mkdirSync(join(folder, ..."d".repeat(100)), { recursive: true });
    const { open } = promises;
    let most = 0;
    patch({
      open: async (...args) => {
        const handle = await open(...args);
        most = Math.max(most, openFilesBelow(made.root));
        return handle;
      },
    });
    await remove(folder);
    assert.deepStrictEqual(readdirSync(volume), []);
    assert.isAtMost(most, 40);
  });

  it("removes a very deep folder in several passes", async () => {
    const { volume, folder } = made;
    mkdirSync(join(folder, ..."d".repeat(256)), { recursive: true });
    await remove(folder);
    assert.deepStrictEqual(readdirSync(volume), []);
  });

  it("tries again if the system reports EEXIST for a folder that is not empty", async () => {
    const { folder } = made;
    const { rmdir } = promises;
    let tries = 0;
    patch({
      rmdir: async (path) => {
        tries += 1;
        if (tries === 1) throw Object.assign(new Error("EEXIST"), { code: "EEXIST" });
        return rmdir(path);
      },
    });
    await remove(folder);
    assert.isFalse(existsSync(folder));
  });

  it.each([
    [4, true],
    [5, false],
  ])("handles %i concurrent writes to the folder: removed is %s", async (times, isRemoved) => {
    const { folder } = made;
    const { rmdir } = promises;
    let tries = 0;
    patch({
      rmdir: async (path) => {
        if (tries < times) writeFileSync(join(folder, "late"), "");
        tries += 1;
        return rmdir(path);
      },
    });
    await (isRemoved
      ? remove(folder)
      : codeOf(remove(folder)).then((code) => assert.strictEqual(code, "ENOTEMPTY")));
    assert.strictEqual(existsSync(folder), !isRemoved);
  });

  it("fails at once if the folder itself can't be removed", async () => {
    let tries = 0;
    const busy = failing("EBUSY");
    patch({ rmdir: () => ((tries += 1), busy()) });
    assert.strictEqual(await codeOf(remove(made.folder)), "EBUSY");
    assert.strictEqual(tries, 1);
  });

  it.each<readonly [string, () => Parameters<typeof patchFiles>[0]]>([
    [
      "a file was removed",
      () => {
        const { unlink } = promises;
        return { unlink: (path) => (rmSync(path), unlink(path)) };
      },
    ],
    [
      "a folder was removed",
      () => {
        const { rmdir } = promises;
        return {
          rmdir: (path) => {
            if (basename(String(path)) === "sub") rmSync(path, { recursive: true, force: true });
            return rmdir(path);
          },
        };
      },
    ],
    [
      "a deep folder was removed",
      () => {
        const { rename } = promises;
        return { rename: (from, to) => (rmSync(from, { recursive: true }), rename(from, to)) };
      },
    ],
    [
      "a folder was replaced by a link",
      () => {
        const { open } = promises;
        return {
          open: (path, ...rest) => {
            if (basename(String(path)) === "sub" && lstatSync(path).isDirectory()) {
              renameSync(path, join(made.root, "moved"));
              symlinkSync(made.outside, path);
            }
            return open(path, ...rest);
          },
        };
      },
    ],
  ])("continues if %s by another process", async (_, others) => {
    const { volume, folder } = made;
    mkdirSync(join(folder, "sub", ..."d".repeat(40)), { recursive: true });
    patch(others());
    await remove(folder);
    assert.deepStrictEqual(readdirSync(volume), []);
  });

  it.each(["unlink", "rmdir", "rename"] as const)(
    "fails with the disk's error of %s",
    async (name) => {
      const { folder } = made;
      mkdirSync(join(folder, ..."d".repeat(40)), { recursive: true });
      patch({ [name]: failing("EIO") });
      assert.strictEqual(await codeOf(remove(folder)), "EIO");
      assert.isTrue(existsSync(folder));
    },
  );

  it("fails for another file system that is mounted in or at the folder", async () => {
    const { folder } = made;
    mkdirSync(join(folder, "mounted"));
    writeFileSync(join(folder, "mounted", "file"), "");
    const { open } = promises;
    patch({
      open: async (path, ...rest) => {
        const handle = await open(path, ...rest);
        if (basename(String(path)) !== "mounted") return handle;
        return Object.assign(handle, { stat: () => Promise.resolve({ dev: -1 }) });
      },
    });
    for (const path of [folder, join(folder, "mounted")]) {
      // oxlint-disable-next-line no-await-in-loop -- the tries must not run concurrently
      assert.strictEqual(await codeOf(remove(path)), "EXDEV");
    }
    assert.deepStrictEqual(readdirSync(join(folder, "mounted")), ["file"]);
  });
});
