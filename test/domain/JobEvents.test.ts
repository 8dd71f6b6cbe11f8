import { assert, describe, it } from "@effect/vitest";

import { EncodedResponse } from "../../src/domain/EncodedResponse.ts";
import { success } from "../../src/domain/FunctionResponse.ts";
import { both, type JobEvent, type JobListener, listenerOf } from "../../src/domain/JobEvents.ts";

const EVENTS: ReadonlyArray<JobEvent> = [
  { _tag: "StageStarted", stage: "running" },
  { _tag: "ProcessStarted" },
  { _tag: "OutputWritten", lines: "line\n" },
  { _tag: "GpuLost" },
  { _tag: "ValueYielded", value: EncodedResponse.of(success({})) },
  { _tag: "Ended", end: "cuda", reason: "why" },
];

/** A listener that records the kind of every event. */
const recorder = (record: (tag: JobEvent["_tag"]) => void): JobListener => ({
  notify: ({ _tag }) => record(_tag),
  needsOutput: false,
  needsValues: false,
});

describe("both", () => {
  it("passes every kind of event to the first and then to the second listener", () => {
    const received: Array<string> = [];
    const joined = both(
      recorder((tag) => received.push(`first ${tag}`)),
      recorder((tag) => received.push(`second ${tag}`)),
    );
    for (const event of EVENTS) joined.notify(event);
    assert.deepStrictEqual(
      received,
      EVENTS.flatMap(({ _tag }) => [`first ${_tag}`, `second ${_tag}`]),
    );
  });

  it("needs output and values if one of the two listeners does", () => {
    const nothing = listenerOf({});
    const output = listenerOf({ OutputWritten: () => {} });
    const values = listenerOf({ ValueYielded: () => {} });
    for (const joined of [both(output, values), both(values, output)]) {
      assert.isTrue(joined.needsOutput);
      assert.isTrue(joined.needsValues);
    }
    assert.isFalse(both(nothing, values).needsOutput);
    assert.isFalse(both(output, nothing).needsValues);
  });
});

describe("listenerOf", () => {
  it("calls the handler of an event's kind with the event, and ignores other events", () => {
    const ends: Array<JobEvent> = [];
    const listener = listenerOf({ Ended: (event) => ends.push(event) });
    for (const event of EVENTS) listener.notify(event);
    assert.deepStrictEqual(ends, EVENTS.slice(-1));
  });
});
