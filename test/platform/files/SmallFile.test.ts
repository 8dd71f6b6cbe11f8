import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, FileSystem } from "effect";

import { readSmallFile } from "../../../src/platform/files/SmallFile.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";

describe("readSmallFile", () => {
  it.effect("reads a regular file", () =>
    Effect.gen(function* () {
      const { files } = memoryFileSystem({ "/a/file": "text" });
      assert.strictEqual(yield* readSmallFile(files, "/a/file"), "text");
    }),
  );

  it.live.each<readonly [string, (path: string, folder: string) => void]>([
    [
      "a link to a file",
      (path, folder) => {
        writeFileSync(join(folder, "target"), "text");
        symlinkSync(join(folder, "target"), path);
      },
    ],
    ["a named pipe", (path) => execFileSync("mkfifo", [path])],
    ["a folder", (path) => mkdirSync(path)],
    ["a file larger than 1 MiB", (path) => writeFileSync(path, "x".repeat(1024 * 1024 + 1))],
  ])("fails at once for %s", ([, plant]) =>
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const folder = yield* files.makeTempDirectoryScoped();
      const path = join(folder, "planted");
      plant(path, folder);
      // If the code under test opened the pipe, it would block. The test then ends when this descriptor is closed.
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          return lstatSync(path).isFIFO() ? openSync(path, constants.O_RDWR) : undefined;
        }),
        (writer) => Effect.sync(() => (writer === undefined ? undefined : closeSync(writer))),
      );
      const error = yield* Effect.flip(readSmallFile(files, path));
      assert.include(error.message, `${path} is not a small regular file`);
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );
});
