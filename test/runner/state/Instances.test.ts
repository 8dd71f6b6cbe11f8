import { assert, describe, it } from "@effect/vitest";

import { LiveInstances, LostInstances } from "../../../src/runner/state/Instances.ts";
import { instanceOf } from "../../support/fakes/FakeCalls.ts";
import { result } from "../../support/fakes/FakeRunner.ts";

/** Follows calls that use or make these instances, in a process that keeps so many. */
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

describe("the instances of a process", () => {
  it("are in the order of their last use, and those unused for longest go first", () => {
    assert.deepStrictEqual(used(["a", "b", "a", "c"], 2).ids, ["a", "c"]);
  });

  it("lose the one that a call named and that does not live any more", () => {
    const live = used(["a", "b"], 9);
    live.update({ instanceId: "a" }, { ...result, lives: false, instances: 1 });
    assert.deepStrictEqual(live.ids, ["b"]);
    assert.isFalse(live.has("a"));
  });

  it("stay after a call that names none", () => {
    const live = used(["a", "b"], 9);
    live.update({ instanceId: null }, { ...result, instances: 2 });
    assert.strictEqual(live.size, 2);
  });
});

describe("lost instances", () => {
  it("are explained once, with the latest reason", () => {
    const lost = new LostInstances();
    lost.add(["a", "b"], "first");
    lost.add(["a"], "second");
    assert.isTrue(lost.has("a"));
    assert.strictEqual(lost.remove("a"), "second");
    assert.isUndefined(lost.remove("a"));
    assert.strictEqual(lost.remove("b"), "first");
  });

  it("are the last 1024 that were lost", () => {
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
