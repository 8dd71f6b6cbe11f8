import { assert, describe, it } from "@effect/vitest";

import { Assignments } from "../../../src/runner/state/Assignments.ts";
import { prepared } from "../../support/fakes/FakeRunner.ts";

/** A runner with the prefix of its process, if it has one, and these instances. */
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

describe("Assignments", () => {
  it.each([
    ["the one in the right venv", null, "right"],
    ["the one in the right venv for a new instance", "new", "right"],
    ["the one that has the instance", "a", "holder"],
  ] as const)("prefers among idle runners %s", (_, instance, expected) => {
    const assignments = new Assignments([
      runnerOf("idle"),
      runnerOf("holder", "/elsewhere", ["a"]),
      runnerOf("right", HERE),
    ]);
    assert.strictEqual(assignments.begin(callOf(instance)).runner.name, expected);
  });

  it("prefers replacing a process of another venv to starting one, except for instances", () => {
    const assignments = new Assignments([runnerOf("idle"), runnerOf("elsewhere", "/elsewhere")]);
    const first = assignments.begin(callOf());
    assert.strictEqual(first.runner.name, "elsewhere");
    assignments.end(first);
    assert.strictEqual(assignments.begin(callOf("new")).runner.name, "idle");
  });

  it("prefers an idle runner to a busy one in the right venv", () => {
    const assignments = new Assignments([runnerOf("right", HERE), runnerOf("idle")]);
    const names = [1, 2, 3].map(() => assignments.begin(callOf()).runner.name);
    assert.deepStrictEqual(names, ["right", "idle", "right"]);
  });

  it("assigns calls of an instance to the runner of its running call until that call ends", () => {
    const assignments = new Assignments([runnerOf("one"), runnerOf("two")]);
    const first = assignments.begin(callOf("a"));
    const second = assignments.begin(callOf("a"));
    assert.strictEqual(second.runner, first.runner);
    for (const assignment of [first, second]) assignments.end(assignment);
    assignments.begin(callOf());
    assert.notStrictEqual(assignments.begin(callOf("a")).runner, first.runner);
  });
});
