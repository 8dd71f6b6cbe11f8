import { assert, describe, it } from "@effect/vitest";

import {
  visibleConsole,
  visibleLines,
  visibleStyled,
  visibleLine,
} from "../../../src/cli/results/TerminalText.ts";

/** Characters that move, hide or reorder text on a terminal, and an unpaired surrogate. */
const DANGEROUS = [
  ...Array.from({ length: 0x20 }, (_, code) => code).filter((code) => code !== 9 && code !== 10),
  ...Array.from({ length: 0x21 }, (_, at) => 0x7f + at),
  0x61c,
  0x200e,
  0x2028,
  0x2029,
  0x202e,
  0x2066,
  0x2069,
  0xfeff,
  0xd800,
].map((code) => String.fromCharCode(code));

describe("visible text", () => {
  it("contains no control characters", () => {
    for (const character of [...DANGEROUS, "\u{e0041}"]) {
      const shown = visibleLines(`a${character}b`);
      assert.match(shown, /^a\\[xur][0-9a-f\\u]*b$/);
      assert.strictEqual(visibleStyled(`a${character}b`), shown);
    }
  });

  it.each([
    ["\0", "\\x00"],
    ["\x1f", "\\x1f"],
    ["\x7f", "\\u007f"],
    ["\u202e", "\\u202e"],
    ["\u{e0041}", "\\udb40\\udc41"],
    ["\r", "\\r"],
  ])("escapes %j as in JavaScript and Python", (character, escaped) => {
    assert.strictEqual(visibleLines(character), escaped);
  });

  it("keeps newlines, tabs, and letters of all languages", () => {
    const text = "one\n\ttwo é 日本 😀 👩\u200d👩 \u00a0end\n";
    assert.strictEqual(visibleLines(text), text);
    assert.strictEqual(visibleLines("windows\r\n"), "windows\n");
  });

  it("stays on one line with visibleLine", () => {
    assert.strictEqual(visibleLine("a\nb\tc\r\nd"), "a\\nb\\tc\\nd");
  });

  it("stays the same JSON value if it is JSON", () => {
    const value = { [DANGEROUS.join("")]: `${DANGEROUS.join("x")}\u{e0041}\n` };
    assert.deepStrictEqual(JSON.parse(visibleLines(JSON.stringify(value))), value);
  });

  it("keeps colours only with visibleStyled, and resets them at the end", () => {
    const red = "\x1b[1;31mred\x1b[0m";
    assert.strictEqual(visibleLines(red), "\\x1b[1;31mred\\x1b[0m");
    assert.strictEqual(visibleStyled(`${red}\n`), `${red}\x1b[0m\n`);
    assert.strictEqual(visibleStyled("\x1b[38;5;200mx"), "\x1b[38;5;200mx\x1b[0m");
  });

  it.each([
    "\x1b[2J",
    "\x1b[1A",
    "\x1b[8mhidden",
    "\x1b[5mblinking",
    "\x1b]0;title\x07",
    "\x1b]52;c;aGk=\x07",
    "\x1b]8;;http://x\x1b\\",
    "\x1bc",
    "\x9b31m",
    "\x1b[31;2J",
    "\x1b[?1049h",
    "\x1b",
  ])("escapes %j next to colours", (sequence) => {
    const shown = visibleStyled(`\x1b[32m${sequence}`);
    assert.isTrue(shown.startsWith("\x1b[32m\\"), JSON.stringify(shown));
    assert.strictEqual(shown.split("\x1b").length, 3, JSON.stringify(shown));
  });
});

describe("visibleConsole", () => {
  it("escapes printed strings, and keeps everything else unchanged", () => {
    const printed: Array<ReadonlyArray<unknown>> = [];
    const shown = visibleConsole({
      ...console,
      log: (...args: ReadonlyArray<unknown>) => printed.push(["log", ...args]),
      error: (...args: ReadonlyArray<unknown>) => printed.push(["error", ...args]),
      warn: (...args: ReadonlyArray<unknown>) => printed.push(["warn", ...args]),
    });
    const value = { text: "\x1b" };
    shown.log("a\x1bb", 1, value);
    shown.error("c\u202ed", value);
    shown.warn("e");
    assert.deepStrictEqual(printed, [
      ["log", "a\\x1bb", 1, value],
      ["error", "c\\u202ed", value],
      ["warn", "e"],
    ]);
  });
});
