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

/** Waits for the end of the current turn of the event loop, before closed handles emit "close". */
const endOfTurn = Effect.callback<void>((resume) => {
  setImmediate(() => resume(Effect.void));
});

/** More than the number of free descriptors below that of the pipe. */
const FILES = 64;

describe("OutputPipe", () => {
  it.live("removes the name of the pipe, and reads what was written before and after", () =>
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

  it.live("does not read another file that gets its descriptor after the last writer closed", () =>
    Effect.gen(function* () {
      const root = yield* temporaryFolder;
      const foreign = join(root, "foreign");
      writeFileSync(foreign, "content of another file");
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
  ])("rejects %s in place of the pipe, and leaves it unchanged", ([, plant]) =>
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

  it.live("drains a limited number of bytes, although a process writes continuously", () =>
    Effect.gen(function* () {
      const path = join(yield* temporaryFolder, "output");
      makePipe(path);
      // Opened for reading and writing, since opening only for writing blocks until there is a reader.
      const writer = openSync(path, constants.O_RDWR);
      const piece = Buffer.alloc(32 * 1024, "x");
      let received = 0;
      const attached = OutputPipe.attach(path, (bytes) => {
        received += bytes.byteLength;
        // Without a limit in drain, the test fails instead of running forever.
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
