import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  openSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Result } from "effect";

import { OutputPipe } from "../../../src/runner/output/OutputPipe.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";

const MIB = 1024 * 1024;

const makePipe = (path: string) => execFileSync("mkfifo", [path]);

/** The end of the current turn of the event loop, before handles that were closed in it report that. */
const endOfTurn = Effect.callback<void>((resume) => {
  setImmediate(() => resume(Effect.void));
});

/** More files than there are free descriptors below that of a pipe. */
const FILES = 64;

describe("the pipe of a job's output", () => {
  it.live("loses its name when it is opened, and is read until then and later", () =>
    Effect.gen(function* () {
      const path = join(yield* temporaryFolder, "output");
      makePipe(path);
      const writer = openSync(path, constants.O_RDWR);
      writeSync(writer, "one ");
      const read: Array<string> = [];
      const pipe = Result.getOrThrow(OutputPipe.attach(path, (bytes) => read.push(String(bytes))));
      assert.isFalse(existsSync(path));
      writeSync(writer, "two");
      pipe.drain();
      pipe.close();
      closeSync(writer);
      assert.strictEqual(read.join(""), "one two");
    }).pipe(Effect.scoped),
  );

  it.live("never has what is in a file that gets its descriptor once the last writer is gone", () =>
    Effect.gen(function* () {
      const root = yield* temporaryFolder;
      const foreign = join(root, "foreign");
      writeFileSync(foreign, "a request of somebody else");
      const path = join(root, "output");
      makePipe(path);
      const writer = openSync(path, constants.O_RDWR);
      let received = "";
      const pipe = Result.getOrThrow(
        OutputPipe.attach(path, (bytes) => {
          received += bytes.toString();
        }),
      );
      writeSync(writer, "written");
      closeSync(writer);
      for (let turn = 0; turn < 20; turn += 1) {
        yield* endOfTurn;
        const files = Array.from({ length: FILES }, () => openSync(foreign, "r"));
        pipe.drain();
        for (const file of files) closeSync(file);
      }
      assert.strictEqual(received, "written");
    }).pipe(Effect.scoped),
  );

  it.live.each<readonly [string, (path: string, pipe: string) => void]>([
    ["a regular file", (path) => writeFileSync(path, "precious")],
    ["a link to a pipe", (path, pipe) => symlinkSync(pipe, path)],
    ["a link to a device", (path) => symlinkSync("/dev/null", path)],
  ])("is not taken from a job that puts %s in its place", ([, plant]) =>
    Effect.gen(function* () {
      const root = yield* temporaryFolder;
      const path = join(root, "output");
      makePipe(join(root, "other"));
      plant(path, join(root, "other"));
      const { ino } = lstatSync(path);
      const attached = OutputPipe.attach(path, () => {});
      if (Result.isSuccess(attached)) attached.success.close();
      assert.isTrue(Result.isFailure(attached));
      assert.strictEqual(lstatSync(path).ino, ino);
    }).pipe(Effect.scoped),
  );

  it.live("is drained no longer than a moment, although somebody writes to it for ever", () =>
    Effect.gen(function* () {
      const path = join(yield* temporaryFolder, "output");
      makePipe(path);
      // Reading and writing, as opening for writing alone would wait for a reader.
      const writer = openSync(path, constants.O_RDWR);
      const piece = Buffer.alloc(32 * 1024, "x");
      let received = 0;
      const attached = OutputPipe.attach(path, (bytes) => {
        received += bytes.byteLength;
        // Without its limit the drain must fail this test, not hang it.
        if (received < 16 * MIB) writeSync(writer, piece);
      });
      const pipe = Result.getOrThrow(attached);
      writeSync(writer, piece);
      pipe.drain();
      pipe.close();
      closeSync(writer);
      assert.isAtLeast(received, piece.byteLength);
      assert.isBelow(received, 2 * MIB);
    }).pipe(Effect.scoped),
  );
});
