import { assert, describe, it } from "@effect/vitest";
import { Duration, Effect, FileSystem } from "effect";
import { TestClock } from "effect/testing";

import { archiveSurplus } from "../../../src/workspace/surplus/ArchiveSurplus.ts";
import { faultyFileSystem } from "../../support/files/FaultyFileSystem.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";

const nameOf = (digit: string): string => `${digit.repeat(64)}.tar.zst`;

const FOLDER = "/volume/.package-archives/3.12.1-abc-x64";
const LIST = "/volume/runtimes/one/.venvs/3.12.1-abc-1/.worker-tetra-packages.json";

const planted = {
  "/precious": null,
  [`${FOLDER}/${nameOf("1")}`]: "used",
  [`${FOLDER}/${nameOf("2")}`]: "unused",
  [`${FOLDER}/.packing-3`]: "unfinished",
  [`${FOLDER}/index-4/six-1.json`]: JSON.stringify({ archive: nameOf("2") }),
  [`${FOLDER}/index-4/idna-1.json`]: JSON.stringify({ archive: nameOf("1") }),
  [`${FOLDER}/index-4/abc-1.json`]: JSON.stringify({ archive: nameOf("9") }),
  "/volume/.package-archives/link": { link: "/precious" },
  [LIST]: JSON.stringify({ state: "s", archives: { packages: [{ archive: nameOf("1") }] } }),
  "/volume/runtimes/one/.venvs/.install.lock": "",
  "/volume/runtimes/two": null,
};

const surplus = (days: number, list?: string) => {
  const memory = memoryFileSystem({ ...planted, ...(list === undefined ? {} : { [LIST]: list }) });
  return archiveSurplus(memory.files, "/volume/runtimes", "/volume", days);
};

describe("archiveSurplus", () => {
  it.effect(
    "returns old archives that no virtual environment has, unfinished ones, and their entries in the index",
    () =>
      Effect.gen(function* () {
        const unused = [".packing-3", nameOf("2"), "index-4/six-1.json", "index-4/abc-1.json"].map(
          (name) => `${FOLDER}/${name}`,
        );
        yield* TestClock.adjust(Duration.days(40));
        assert.sameMembers([...(yield* surplus(30))], unused);
        assert.sameMembers(
          [...(yield* surplus(30, "{}"))],
          [...unused, `${FOLDER}/${nameOf("1")}`, `${FOLDER}/index-4/idna-1.json`],
        );
        assert.isEmpty(yield* surplus(50));
      }),
  );

  it.effect("fails if the list of a virtual environment can't be read", () =>
    Effect.gen(function* () {
      const { files } = memoryFileSystem(planted);
      const { layer } = faultyFileSystem(files, [{ method: "readFile", code: "EIO" }]);
      const error = yield* Effect.flip(
        Effect.provide(
          Effect.flatMap(FileSystem.FileSystem, (faulty) =>
            archiveSurplus(faulty, "/volume/runtimes", "/volume", 0),
          ),
          layer,
        ),
      );
      assert.include(error.message, LIST);
    }),
  );
});
