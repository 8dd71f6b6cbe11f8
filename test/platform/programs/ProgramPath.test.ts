import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, beforeEach, describe, it } from "@effect/vitest";
import { Effect, Option } from "effect";

import {
  absoluteFolders,
  findFile,
  findProgram,
  isFile,
  programFolders,
} from "../../../src/platform/programs/ProgramPath.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";
import { makeTemporaryFolder, removeFolder } from "../../support/files/TemporaryFolder.ts";

let root: string;

beforeEach(() => {
  root = makeTemporaryFolder();
  for (const folder of ["bin", "venv/bin", "volume/bin", "volume2/bin"]) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  writeFileSync(join(root, "venv", "pyvenv.cfg"), "");
  return () => removeFolder(root);
});

describe("programFolders", () => {
  it.each([
    ["a folder", "bin", true],
    ["a folder whose name starts with that of a folder of jobs", "volume2/bin", true],
    ["a folder that does not exist", "missing", true],
    ["a folder of jobs", "volume", false],
    ["a folder below one of jobs", "volume/bin", false],
    ["a folder below one of jobs, with .. in its path", "bin/../volume/bin", false],
    ["a virtual environment", "venv/bin", false],
    ["a virtual environment, by its name", "x/.venv/bin", false],
    ["one of many virtual environments", "x/.venvs/3.12-1/bin", false],
  ])("for %s (%s): includes it is %s", (_, folder, isAmong) => {
    const path = join(root, "bin", "..", folder);
    assert.deepStrictEqual(
      programFolders(`/usr/bin:${path}`, [join(root, "other"), join(root, "volume/")]),
      isAmong ? ["/usr/bin", path] : ["/usr/bin"],
    );
  });

  it("leaves out folders that depend on the current directory", () => {
    assert.deepStrictEqual(programFolders(":.:bin:../bin:/usr/bin:", []), ["/usr/bin"]);
  });

  it("returns the system's folders if there is no PATH", () => {
    assert.includeMembers([...programFolders(undefined, [])], ["/usr/bin", "/bin"]);
    assert.isEmpty(programFolders("", []));
  });
});

/** Creates a folder in which `make` creates an entry with the program's name. */
const plant = (folder: string, make: (path: string) => void) => {
  mkdirSync(join(root, folder));
  make(join(root, folder, "tool"));
  return join(root, folder);
};
const script = (path: string) => writeFileSync(path, "#!/bin/sh\n", { mode: 0o755 });

describe("findProgram", () => {
  it("finds the first executable file with the name", () => {
    const folders = [
      plant("empty", () => {}),
      plant("text", (path) => {
        script(path);
        chmodSync(path, 0o644);
      }),
      plant("folder", (path) => mkdirSync(path)),
      plant("dangling", (path) => symlinkSync("nothing", path)),
      plant("linked", (path) => {
        script(`${path}-1`);
        symlinkSync("tool-1", path);
      }),
      plant("late", script),
    ];
    assert.strictEqual(findProgram("tool", folders), join(root, "linked", "tool"));
    assert.isUndefined(findProgram("tool", folders.slice(0, 4)));
  });

  it("returns a path unchanged", () => {
    assert.strictEqual(findProgram("./tool", [plant("bin-2", script)]), "./tool");
  });
});

describe("absoluteFolders", () => {
  it("leaves out entries that depend on the current directory", () => {
    assert.deepStrictEqual(absoluteFolders("/a::.:bin:/b:"), ["/a", "/b"]);
    assert.deepStrictEqual(absoluteFolders(""), []);
  });
});

describe("findFile", () => {
  const { files } = memoryFileSystem({
    "/a/uv": null,
    "/b/uv": { link: "/c/uv" },
    "/c/uv": "uv",
    "/d/uv": { link: "/nowhere" },
  });

  it.effect("finds a file, or a link to one, in the first folder that has it", () =>
    Effect.gen(function* () {
      const found = yield* findFile(files, ["/missing", "/a", "/d", "/b", "/c"], "uv");
      assert.deepStrictEqual(found, Option.some("/b/uv"));
    }),
  );

  it.effect("finds neither folders nor broken links", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* findFile(files, ["/a", "/d"], "uv"), Option.none());
      assert.isFalse(yield* isFile(files, "/a/uv"));
      assert.isFalse(yield* isFile(files, "/d/uv"));
      assert.isTrue(yield* isFile(files, "/b/uv"));
    }),
  );
});
