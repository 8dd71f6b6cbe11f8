import { assert, describe, it } from "@effect/vitest";
import { Duration } from "effect";

import {
  holderName,
  holderText,
  isLost,
  sight,
  type Sighting,
} from "../../../src/venv/leases/Holder.ts";

const TEXT = holderText("pid 7 on host");
const INTERVAL = Duration.millis(500);

/** Looks at a lock file at some times, in seconds; returns whether the holder is lost after the last look. */
const look = (
  times: ReadonlyArray<number>,
  content: (second: number) => Pick<Sighting, "text" | "heartbeat"> = () => ({
    text: TEXT,
    heartbeat: 1,
  }),
  mayBeForeign = true,
): boolean => {
  let sighting: Sighting | undefined;
  for (const second of times) {
    sighting = sight(sighting, { ...content(second), at: second * 1000 }, INTERVAL);
  }
  return sighting !== undefined && isLost(sighting, mayBeForeign);
};

const empty = () => ({ text: "", heartbeat: 1 });

const seconds = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

describe("the holder of a lock", () => {
  it("is named without its heartbeat in messages", () => {
    assert.strictEqual(holderName(TEXT), "pid 7 on host");
    assert.strictEqual(holderName("a Python worker"), "a Python worker");
  });

  it("is lost if it has sent no heartbeat for 20 s", () => {
    assert.isFalse(look(seconds(0, 19)));
    assert.isTrue(look(seconds(0, 20)));
  });

  it.each([
    [
      "the time of the file",
      (second: number) => ({ text: TEXT, heartbeat: Math.floor(second / 19) }),
    ],
    ["the text", (second: number) => ({ text: second < 10 ? "" : TEXT, heartbeat: 1 })],
  ] as const)("is not lost if %s has changed", (_, content) => {
    assert.isFalse(look(seconds(0, 29), content));
  });

  it("is not lost if it sends no heartbeats", () => {
    assert.isFalse(look(seconds(0, 100), () => ({ text: "a Python worker", heartbeat: 1 })));
  });

  it("is lost before it has written its name, unless it may be a worker that never does", () => {
    assert.isTrue(look(seconds(0, 20), empty, false));
    assert.isFalse(look(seconds(0, 20), empty, true));
  });

  it("is watched again from the start by a worker that was stopped itself", () => {
    assert.isFalse(look([0, 1, 60]));
    assert.isFalse(look([...seconds(0, 19), ...seconds(40, 59)]));
    assert.isTrue(look([...seconds(0, 19), ...seconds(40, 60)]));
  });
});
