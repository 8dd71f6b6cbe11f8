import { readFileSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";

import { assert, describe, it } from "@effect/vitest";

import { jobOutput } from "../../../src/cli/requests/JobOutput.ts";

const recorder = () => {
  const shown: Array<string> = [];
  return { shown, ...jobOutput((lines) => shown.push(lines)) };
};

describe("jobOutput", () => {
  it("shows the output live, and notes at the end", () => {
    const { shown, output, end } = recorder();
    output("one\n");
    output("two\n");
    end("one\ntwo\n[worker-tetra] A thread is still running.\n");
    assert.strictEqual(shown.join(""), "one\ntwo\n[worker-tetra] A thread is still running.\n");
  });

  it("does not show output again at the end, even without a final newline", () => {
    const { shown, output, end } = recorder();
    output("one\ntwo\n");
    end("one\ntwo");
    assert.strictEqual(shown.join(""), "one\ntwo\n");
  });

  it("shows output at the end that was not shown live", () => {
    const { shown, end } = recorder();
    end("all of it\n");
    assert.strictEqual(shown.join(""), "all of it\n");
  });

  it("writes large output to a private file and shows its path", () => {
    const { shown, output, end } = recorder();
    const lines = Array.from({ length: 200 }, (_, at) => `${at} ${"x".repeat(50_000)}\n`);
    for (const line of lines) output(line);
    end("0 xxx\n[worker-tetra] 9000000 bytes of output left out here\n99 xxx\n");
    const path = /The full output is in (.*)\n$/.exec(shown.join(""))?.[1] ?? "";
    assert.strictEqual(readFileSync(path, "utf8"), lines.join(""));
    assert.strictEqual(statSync(path).mode & 0o777, 0o600);
    assert.isBelow(shown.join("").length, 5_000_000);
    assert.notInclude(shown.join(""), "left out");
    rmSync(dirname(path), { recursive: true });
  });
});
