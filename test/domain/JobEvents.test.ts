import { assert, describe, it } from "@effect/vitest";

import { FunctionAnswer } from "../../src/domain/FunctionAnswer.ts";
import { success } from "../../src/domain/FunctionResponse.ts";
import { both, type JobEvents } from "../../src/domain/JobEvents.ts";

const recorder = (said: Array<string>, name: string): Required<JobEvents> => ({
  stage: (stage) => said.push(`${name} ${stage}`),
  launched: () => said.push(`${name} launched`),
  output: (lines) => said.push(`${name} ${lines}`),
  poisoned: () => said.push(`${name} poisoned`),
  chunk: () => said.push(`${name} chunk`),
  ended: (end, reason) => said.push(`${name} ${end} ${reason}`),
});

const tellAll = ({ stage, launched, output, poisoned, chunk, ended }: JobEvents): void => {
  stage?.("running");
  launched?.();
  output?.("line");
  poisoned?.();
  chunk?.(FunctionAnswer.of(success({})));
  ended?.("cuda", "why");
};

const EVENTS = ["running", "launched", "line", "poisoned", "chunk", "cuda why"];

describe("two listeners of a job", () => {
  it("both get every event, in turn", () => {
    const said: Array<string> = [];
    tellAll(both(recorder(said, "a"), recorder(said, "b")));
    assert.deepStrictEqual(
      said,
      EVENTS.flatMap((event) => [`a ${event}`, `b ${event}`]),
    );
  });

  it("lose no event that only one of them wants", () => {
    for (const joined of [
      (only: JobEvents) => both(only, {}),
      (only: JobEvents) => both({}, only),
    ]) {
      const said: Array<string> = [];
      tellAll(joined(recorder(said, "a")));
      assert.deepStrictEqual(
        said,
        EVENTS.map((event) => `a ${event}`),
      );
    }
  });

  it("have no listener for an event that neither of them wants", () => {
    assert.isUndefined(both({ output: () => {} }, { stage: () => {} }).chunk);
  });
});
