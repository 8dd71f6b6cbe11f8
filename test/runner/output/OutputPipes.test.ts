import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  renameSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { OutputPipes } from "../../../src/runner/output/OutputPipes.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";

/** Creates the pipe with this number, and opens it for writing. */
const makePipe = (folder: string, number: number): number => {
  const path = join(folder, `output-${number}`);
  execFileSync("mkfifo", [path]);
  return openSync(path, constants.O_RDWR);
};

describe("OutputPipes", () => {
  it.live("reads only from the newest pipe", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const pipes = new OutputPipes(folder);
      const received: Array<string> = [];
      const receive = (bytes: Buffer) => received.push(String(bytes));
      assert.isFalse(pipes.isAttached);
      const first = makePipe(folder, 1);
      assert.isTrue(pipes.attach(receive));
      assert.isTrue(pipes.isAttached);
      writeSync(first, "one ");
      pipes.drain();
      const second = makePipe(folder, 2);
      assert.isTrue(pipes.attach(receive));
      writeSync(first, "of an earlier job");
      writeSync(second, "two");
      pipes.drain();
      assert.strictEqual(received.join(""), "one two");
      pipes.close();
      for (const writer of [first, second]) closeSync(writer);
    }).pipe(Effect.scoped),
  );

  it.live("opens pipes in its folder after that was moved, not in a folder that replaced it", () =>
    Effect.gen(function* () {
      const root = yield* temporaryFolder;
      mkdirSync(join(root, "scratch"));
      const pipes = new OutputPipes(join(root, "scratch"));
      renameSync(join(root, "scratch"), join(root, "moved"));
      mkdirSync(join(root, "other"));
      symlinkSync(join(root, "other"), join(root, "scratch"));
      const planted = makePipe(join(root, "other"), 1);
      assert.isFalse(pipes.attach(() => {}));
      const moved = makePipe(join(root, "moved"), 1);
      assert.isTrue(pipes.attach(() => {}));
      pipes.close();
      for (const writer of [planted, moved]) closeSync(writer);
    }).pipe(Effect.scoped),
  );

  it.live("rejects a folder that is a link", () =>
    Effect.gen(function* () {
      const root = yield* temporaryFolder;
      symlinkSync(tmpdir(), join(root, "scratch"));
      assert.throws(() => new OutputPipes(join(root, "scratch")));
    }).pipe(Effect.scoped),
  );
});
