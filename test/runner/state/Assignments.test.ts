import { assert, describe, it } from "@effect/vitest";

import { Assignments } from "../../../src/runner/state/Assignments.ts";
import { prepared } from "../../support/fakes/FakeRunner.ts";

/** A runner whose process runs from the prefix, if it has one, and has these instances. */
const runnerOf = (name: string, prefix?: string, instances: ReadonlyArray<string> = []) => ({
  name,
  prefix: () => prefix,
  hasInstance: (instance: string) => instances.includes(instance),
});

const callOf = (instance: string | null = null) => ({
  meta: { instanceId: instance },
  workspace: prepared,
});

const HERE = prepared.prefix;

describe("assignments of calls to runners", () => {
  it.each([
    ["the one in the right environment", null, "right"],
    ["the one in the right environment, for a new instance", "new", "right"],
    ["the one that has the instance", "a", "holder"],
  ] as const)("prefer among free runners %s", (_, instance, expected) => {
    const assignments = new Assignments([
      runnerOf("idle"),
      runnerOf("holder", "/elsewhere", ["a"]),
      runnerOf("right", HERE),
    ]);
    assert.strictEqual(assignments.begin(callOf(instance)).runner.name, expected);
  });

  it("replace a process elsewhere before they start another one, except for instances", () => {
    const assignments = new Assignments([runnerOf("idle"), runnerOf("elsewhere", "/elsewhere")]);
    const first = assignments.begin(callOf());
    assert.strictEqual(first.runner.name, "elsewhere");
    assignments.end(first);
    assert.strictEqual(assignments.begin(callOf("new")).runner.name, "idle");
  });

  it("prefer a runner without calls to the one in the right environment", () => {
    const assignments = new Assignments([runnerOf("right", HERE), runnerOf("idle")]);
    const names = [1, 2, 3].map(() => assignments.begin(callOf()).runner.name);
    assert.deepStrictEqual(names, ["right", "idle", "right"]);
  });

  it("give calls of an instance to the runner where another one is running, until that ends", () => {
    const assignments = new Assignments([runnerOf("one"), runnerOf("two")]);
    const first = assignments.begin(callOf("a"));
    const second = assignments.begin(callOf("a"));
    assert.strictEqual(second.runner, first.runner);
    for (const assignment of [first, second]) assignments.end(assignment);
    assignments.begin(callOf());
    assert.notStrictEqual(assignments.begin(callOf("a")).runner, first.runner);
  });
});
