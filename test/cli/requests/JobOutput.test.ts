import { readFileSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";

import { assert, describe, it } from "@effect/vitest";

import { jobOutput } from "../../../src/cli/requests/JobOutput.ts";

const recorder = () => {
  const shown: Array<string> = [];
  return { shown, ...jobOutput((lines) => shown.push(lines)) };
};

describe("what a job prints", () => {
  it("is shown whole, and its notes at the end", () => {
    const { shown, output, end } = recorder();
    output("one\n");
    output("two\n");
    end("one\ntwo\n[worker-tetra] A thread is still running.\n");
    assert.strictEqual(shown.join(""), "one\ntwo\n[worker-tetra] A thread is still running.\n");
  });

  it("is not shown again at the end, also if it has no line end", () => {
    const { shown, output, end } = recorder();
    output("one\ntwo\n");
    end("one\ntwo");
    assert.strictEqual(shown.join(""), "one\ntwo\n");
  });

  it("is shown at the end when it did not come before", () => {
    const { shown, end } = recorder();
    end("all of it\n");
    assert.strictEqual(shown.join(""), "all of it\n");
  });

  it("is written to a private file, whose path is shown, when there is too much of it", () => {
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
