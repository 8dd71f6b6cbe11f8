import { assert, describe, it } from "@effect/vitest";
import { Duration } from "effect";

import {
  currentFiles,
  decodeProfile,
  EMPTY_PROFILE,
  importable,
  merged,
  type Profile,
  withFiles,
  withFolders,
  withModule,
  withUsed,
} from "../../../src/workspace/profile/Profile.ts";

const DAY = Duration.toMillis("1 day");
const FILE = { path: "lib/torch.so", ranges: [[0, 131_072]] } as const;

const names = ({ modules }: Pick<Profile, "modules">) => modules.map(({ name }) => name);

describe("a profile", () => {
  it("is read as it was written", () => {
    const profile = withFiles(
      withModule(withUsed(EMPTY_PROFILE, ["torch", "bad"], 5), "bad", { failure: "no" }),
      [FILE],
    );
    assert.deepStrictEqual(decodeProfile(JSON.stringify(profile)), profile);
  });

  it.each([
    "",
    "{",
    "[]",
    '{"modules":[]}',
    '{"modules":[{"name":"os; x","seconds":1,"bytes":1,"usedAt":1}],"files":[]}',
    '{"modules":[],"files":[{"path":"../x","ranges":[]}]}',
    '{"modules":[],"files":[{"path":"a/../../x","ranges":[]}]}',
    '{"modules":[],"files":[{"path":"/etc/passwd","ranges":[]}]}',
    '{"modules":[],"files":[{"path":"a","ranges":[[-1,1]]}]}',
  ])("that is invalid is empty: %s", (text) => {
    assert.deepStrictEqual(decodeProfile(text), EMPTY_PROFILE);
  });

  it("has the modules that were used last first, each once, and at most 64", () => {
    const first = withUsed(EMPTY_PROFILE, ["torch", "numpy"], 1);
    const measured = withModule(first, "numpy", { seconds: 0.5, bytes: 7 });
    assert.deepStrictEqual(withUsed(measured, ["pandas", "numpy", "pandas", "not a name"], 2), {
      modules: [
        { name: "pandas", seconds: 0, bytes: 0, usedAt: 2 },
        { name: "numpy", seconds: 0.5, bytes: 7, usedAt: 2 },
        { name: "torch", seconds: 0, bytes: 0, usedAt: 1 },
      ],
      files: [],
      folders: [],
    });
    const many = Array.from({ length: 70 }, (_, index) => `module${index}`);
    assert.deepStrictEqual(names(withUsed(measured, many, 3)), many.slice(0, 64));
  });

  it("has each folder of imported modules once, and none that is outside of the virtual environment", () => {
    const first = withFolders(EMPTY_PROFILE, ["lib/b", "/etc", "../x", "lib/a"]);
    assert.deepStrictEqual(withFolders(first, ["lib/c", "lib/a"]).folders, [
      "lib/a",
      "lib/b",
      "lib/c",
    ]);
    assert.deepStrictEqual(decodeProfile(JSON.stringify(first)).folders, ["lib/a", "lib/b"]);
    assert.deepStrictEqual(decodeProfile('{"modules":[],"files":[]}').folders, []);
  });

  it("does not get modules that no job has used", () => {
    assert.deepStrictEqual(withModule(EMPTY_PROFILE, "torch", { seconds: 1 }), EMPTY_PROFILE);
  });

  it("keeps the files with the first 4096 ranges", () => {
    const large = {
      path: "large",
      ranges: Array.from({ length: 4000 }, (_, n) => [n, 1] as const),
    };
    assert.deepStrictEqual(
      withFiles(EMPTY_PROFILE, [large, { ...large, path: "other" }, FILE]).files.map(
        ({ path }) => path,
      ),
      ["large"],
    );
  });

  it("offers modules that were used within a week and did not fail", () => {
    const used = withUsed(withUsed(EMPTY_PROFILE, ["old"], 0), ["bad", "new"], 3 * DAY);
    const profile = withFiles(withModule(used, "bad", { failure: "SIGSEGV" }), [FILE]);
    assert.deepStrictEqual(names({ modules: importable(profile, 8 * DAY) }), ["new"]);
    assert.deepStrictEqual(currentFiles(profile, 8 * DAY), [FILE]);
    assert.isEmpty(importable(profile, 11 * DAY));
    assert.isEmpty(currentFiles(profile, 11 * DAY));
  });

  it("is combined with that of another worker: the newest use, and what either has measured", () => {
    const own = withModule(
      withUsed(withFolders(EMPTY_PROFILE, ["old"]), ["torch", "numpy"], 1),
      "torch",
      { seconds: 2, bytes: 3, failure: "SIGSEGV" },
    );
    const other = withFiles(
      withUsed(withUsed(withFolders(EMPTY_PROFILE, ["new"]), ["numpy"], 0), ["torch"], 9),
      [FILE],
    );
    const expected = {
      modules: [
        { name: "torch", seconds: 2, bytes: 3, usedAt: 9, failure: "SIGSEGV" },
        { name: "numpy", seconds: 0, bytes: 0, usedAt: 1 },
      ],
      files: [FILE],
      folders: ["new", "old"],
    };
    assert.deepStrictEqual(merged(own, other), expected);
    assert.deepStrictEqual(merged(other, own), expected);
  });
});
