import { assert, describe, it } from "@effect/vitest";

import { parseTaken } from "../../../src/queue/runpod/TakenJobs.ts";

const textsIn = (body: string) =>
  parseTaken(Buffer.from(body), String).jobs.map(
    ({ id, inputText }) =>
      [id, inputText === undefined ? undefined : Buffer.from(inputText).toString().trim()] as const,
  );

describe("parseTaken", () => {
  it("keeps the text of the input as the client wrote it", () => {
    assert.deepStrictEqual(textsIn('{"id": "a", "input": {"b": 1.0, "1": 1152921504606846977}}'), [
      ["a", '{"b": 1.0, "1": 1152921504606846977}'],
    ]);
  });

  it("keeps the text of each job of a list, without the invalid ones", () => {
    assert.deepStrictEqual(
      textsIn('[{"id": "a", "input": [1.0]}, {"input": 1}, {"id": "b"}, {"id": "c","input":-0.0}]'),
      [
        ["a", "[1.0]"],
        ["b", undefined],
        ["c", "-0.0"],
      ],
    );
  });

  it("keeps the text of a job beside one that is too complex", () => {
    const deep = "[".repeat(200) + "]".repeat(200);
    assert.deepStrictEqual(
      textsIn(`[{"id": "a", "input": ${deep}}, {"id": "b", "input": 1e400}]`),
      [["b", "1e400"]],
    );
  });

  it("uses the last of two inputs, as the parser does", () => {
    const body = '{"id": "a", "input": 1.0, "input": 2.0}';
    const [job] = parseTaken(Buffer.from(body), String).jobs;
    assert.strictEqual(job?.input, 2);
    assert.strictEqual(
      Buffer.from(job?.inputText ?? [])
        .toString()
        .trim(),
      "2.0",
    );
  });
});
