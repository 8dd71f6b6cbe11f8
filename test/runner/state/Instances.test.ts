import { assert, describe, it } from "@effect/vitest";

import { LiveInstances, LostInstances } from "../../../src/runner/state/Instances.ts";
import { instanceOf } from "../../support/fakes/FakeCalls.ts";
import { result } from "../../support/fakes/FakeRunner.ts";

/** The instances after calls of these ids, in a process that keeps a limited number. */
const used = (ids: ReadonlyArray<string>, kept: number) => {
  const live = new LiveInstances();
  for (const id of ids) {
    live.update(
      { instanceId: id },
      { ...result, instance: instanceOf(id), instances: Math.min(kept, live.size + 1) },
    );
  }
  return live;
};

describe("LiveInstances", () => {
  it("removes the least recently used instances first", () => {
    assert.deepStrictEqual(used(["a", "b", "a", "c"], 2).ids, ["a", "c"]);
  });

  it("removes the instance of a call that ended it", () => {
    const live = used(["a", "b"], 9);
    live.update({ instanceId: "a" }, { ...result, lives: false, instances: 1 });
    assert.deepStrictEqual(live.ids, ["b"]);
    assert.isFalse(live.has("a"));
  });

  it("keeps all instances after a call without an instance", () => {
    const live = used(["a", "b"], 9);
    live.update({ instanceId: null }, { ...result, instances: 2 });
    assert.strictEqual(live.size, 2);
  });
});

describe("LostInstances", () => {
  it("returns the latest reason once", () => {
    const lost = new LostInstances();
    lost.add(["a", "b"], "first");
    lost.add(["a"], "second");
    assert.isTrue(lost.has("a"));
    assert.strictEqual(lost.remove("a"), "second");
    assert.isUndefined(lost.remove("a"));
    assert.strictEqual(lost.remove("b"), "first");
  });

  it("keeps the last 1024 instances", () => {
    const lost = new LostInstances();
    lost.add(["first"], "first");
    lost.add(
      Array.from({ length: 1023 }, (_, index) => `${index}`),
      "others",
    );
    assert.isTrue(lost.has("first"));
    lost.add(["last"], "last");
    assert.isFalse(lost.has("first"));
    assert.isTrue(lost.has("0"));
  });
});
