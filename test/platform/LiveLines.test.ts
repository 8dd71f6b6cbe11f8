import { assert, describe, it } from "@effect/vitest";

import { LiveLines, type LiveLinesOptions } from "../../src/platform/LiveLines.ts";

const recorder = (options?: LiveLinesOptions) => {
  let time = 0;
  const emitted: Array<string> = [];
  const lines = new LiveLines(
    (text) => emitted.push(text),
    () => time,
    options,
  );
  return {
    emitted,
    write: (text: string) => lines.write(Buffer.from(text)),
    end: () => lines.end(),
    pass: (milliseconds: number) => {
      time += milliseconds;
    },
  };
};

describe("LiveLines", () => {
  it("emits complete lines exactly as they were printed", () => {
    const { emitted, write } = recorder();
    write("one\ntw");
    write("o\r\nthree\x1b[0m\n\n");
    assert.strictEqual(emitted.join(""), "one\ntwo\r\nthree\x1b[0m\n\n");
  });

  it("adds a line end to the last line if it has none", () => {
    const { emitted, write, end } = recorder();
    write("unfinished");
    assert.deepStrictEqual(emitted, []);
    end();
    assert.deepStrictEqual(emitted, ["unfinished\n"]);
  });

  it("emits 200 lines a second, the number of lines left out, and lines of the next second", () => {
    const { emitted, write, end, pass } = recorder();
    write("x\n".repeat(1000));
    pass(999);
    write("x\n".repeat(1000));
    pass(1);
    write("later\n");
    end();
    const text = emitted.join("");
    assert.strictEqual(text.match(/^x$/gm)?.length, 200);
    assert.include(text, "1800 more lines left out here");
    assert.isTrue(text.endsWith("later\n"));
  });

  it("uses the given limit and the given note for lines left out", () => {
    const all = recorder({ linesPerSecond: Number.POSITIVE_INFINITY });
    all.write("x\n".repeat(5000));
    all.end();
    assert.strictEqual(all.emitted.join(""), "x\n".repeat(5000));
    const few = recorder({ linesPerSecond: 2, leftOutNote: (count) => `and ${count} more` });
    few.write("x\n".repeat(5));
    few.end();
    assert.strictEqual(few.emitted.join(""), "x\nx\nand 3 more\n");
  });

  it("counts each line left out once, however the output is split", () => {
    const { emitted, write, end } = recorder();
    for (const piece of ["x\n".repeat(300), "lo", "ng\n\n", "\nlast"]) write(piece);
    end();
    // 300 minus 200, then "long", two empty lines and the last one.
    assert.include(emitted.at(-1), " 104 more lines");
  });

  it("counts nothing for an empty write", () => {
    const { emitted, write, end } = recorder();
    write("x\n".repeat(250));
    write("");
    end();
    assert.include(emitted.at(-1), " 50 more lines");
  });

  it("counts an unfinished last line that is left out", () => {
    const { emitted, write, end } = recorder();
    write("x\n".repeat(250));
    write("the end");
    end();
    assert.include(emitted.at(-1), "51 more lines");
  });

  it("buffers a line of 64 KiB until its end", () => {
    const { emitted, write } = recorder();
    const line = "y".repeat(64 * 1024);
    write(line.slice(0, 100));
    write(line.slice(100));
    assert.isEmpty(emitted);
    write("\n");
    assert.deepStrictEqual(emitted, [`${line}\n`]);
  });

  it("emits a longer line in pieces and counts every 4 KiB as a line", () => {
    const { emitted, write } = recorder();
    const half = "y".repeat(40 * 1024);
    write(half);
    write(half);
    assert.deepStrictEqual(emitted, [half + half]);
    write(`\n${"x\n".repeat(300)}`);
    // 200 minus 20 for the long line and 1 for its end.
    assert.strictEqual(emitted.join("").match(/^x$/gm)?.length, 179);
  });

  it("emits a line without end in pieces instead of buffering it", () => {
    const { emitted, write } = recorder();
    for (let piece = 0; piece < 100; piece += 1) write("y".repeat(4096));
    const passed = emitted.join("").length;
    assert.isAbove(passed, 300_000);
  });

  it("limits a line without end, and emits lines after it", () => {
    const { emitted, write, end, pass } = recorder();
    for (let piece = 0; piece < 1000; piece += 1) write("y".repeat(4096));
    assert.isBelow(emitted.join("").length, 1_000_000);
    write("\n");
    pass(1000);
    write("later\n");
    end();
    assert.include(emitted.join(""), "1 more lines left out here");
    assert.isTrue(emitted.join("").endsWith("later\n"));
  });
});
