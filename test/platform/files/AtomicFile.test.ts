import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { codeOf } from "../../../src/platform/ErrorCode.ts";
import {
  replaceAtomically,
  replaceFile,
  replaceLink,
} from "../../../src/platform/files/AtomicFile.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";
import { plantingFileSystem } from "../../support/files/PlantingFileSystem.ts";

describe("replaceFile", () => {
  it.effect("replaces a link, not its target", () =>
    Effect.gen(function* () {
      const { files, show } = memoryFileSystem({
        "/precious": "x",
        "/a/file": { link: "/precious" },
      });
      yield* replaceFile(files, "/a/file", "text");
      assert.deepStrictEqual(show(), { "/precious": "x", "/a": null, "/a/file": "text" });
    }),
  );

  it.effect("does not write to a file that another process created under the temporary name", () =>
    Effect.gen(function* () {
      const { files, precious } = plantingFileSystem({ "/a/file": "old" });
      const error = yield* Effect.flip(replaceFile(files, "/a/file", "new"));
      assert.strictEqual(codeOf(error), "EEXIST");
      assert.strictEqual(precious(), "precious");
      assert.strictEqual(yield* files.readFileString("/a/file"), "old");
    }),
  );
});

describe("replaceLink", () => {
  it.effect("replaces a link by another one", () =>
    Effect.gen(function* () {
      const { files, show } = memoryFileSystem({ "/a/link": { link: "/old" } });
      yield* replaceLink(files, "/a/link", "/new");
      assert.deepStrictEqual(show(), { "/a": null, "/a/link": { link: "/new" } });
    }),
  );

  it.effect("fails for a folder, and leaves no temporary link", () =>
    Effect.gen(function* () {
      const { files, show } = memoryFileSystem({ "/a/link/file": "text" });
      yield* Effect.flip(replaceLink(files, "/a/link", "/new"));
      assert.deepStrictEqual(show(), { "/a": null, "/a/link": null, "/a/link/file": "text" });
    }),
  );
});

describe("replaceAtomically", () => {
  it.effect("removes the temporary file when its creation fails or is interrupted", () =>
    Effect.gen(function* () {
      const { files, show } = memoryFileSystem({ "/a/file": "old" });
      for (const end of [Effect.fail("no space"), Effect.interrupt]) {
        yield* replaceAtomically(files, "/a/file", (temporary) =>
          Effect.andThen(files.writeFileString(temporary, "half"), end),
        ).pipe(Effect.exit);
        assert.deepStrictEqual(show(), { "/a": null, "/a/file": "old" });
      }
    }),
  );
});
