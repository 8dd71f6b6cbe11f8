import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { isFinal, type JobStatus } from "../../../src/domain/EndpointJob.ts";
import { entryOf, type JobEntry, sizeOf } from "../../../src/endpoint/jobs/JobEntry.ts";
import { JobTable } from "../../../src/endpoint/jobs/JobTable.ts";
import { nextExpiry } from "../../../src/endpoint/jobs/JobTimers.ts";
import { SentResult } from "../../../src/endpoint/jobs/LocalJob.ts";
import { seededRandom } from "../../support/values/Random.ts";

let numbers = 0;

const newEntry = (
  request: Uint8Array = Buffer.from("{}"),
  status: JobStatus = "IN_QUEUE",
  policy: { readonly ttl?: number; readonly executionTimeout?: number } = {},
): JobEntry => {
  numbers += 1;
  const state = {
    id: `job-${numbers}`,
    status,
    submitted: 1000,
    started: null,
    ended: null,
    retries: 0,
  };
  return entryOf({ state, request, result: undefined }, { policy }, Effect.void);
};

const resultOf = (size: number) => SentResult.of(Buffer.from(`{"output":"${"x".repeat(size)}"}`));

describe("the jobs of a local queue", () => {
  it("start in order, as many as requested", () => {
    const table = new JobTable();
    const entries = [newEntry(), newEntry(), newEntry()];
    for (const entry of entries) table.add(entry);
    assert.deepStrictEqual(table.take(2, 5), entries.slice(0, 2));
    assert.deepStrictEqual(
      entries.map(({ status, started }) => [status, started]),
      [
        ["IN_PROGRESS", 5],
        ["IN_PROGRESS", 5],
        ["IN_QUEUE", undefined],
      ],
    );
    assert.deepInclude(table.counts(), { IN_QUEUE: 1, IN_PROGRESS: 2 });
    assert.deepStrictEqual(table.take(9, 6), entries.slice(2));
    assert.isFalse(table.hasQueued());
  });

  it("are removed from the queue only once", () => {
    const table = new JobTable();
    const entry = newEntry();
    table.add(entry);
    assert.isTrue(table.removeQueued(entry));
    assert.isFalse(table.removeQueued(entry));
    assert.isEmpty(table.removeAllQueued());
  });

  it("are queued again after a restart, unless they have finished", () => {
    const table = new JobTable();
    const running = newEntry(undefined, "IN_PROGRESS");
    const done = newEntry(undefined, "COMPLETED");
    table.add(running);
    table.add(done);
    assert.deepStrictEqual(table.take(9, 0), [running]);
    assert.strictEqual(done.status, "COMPLETED");
  });

  it("keep their request after the end only if they can be retried", () => {
    const table = new JobTable();
    const [done, failed] = [newEntry(), newEntry()];
    for (const entry of [done, failed]) table.add(entry);
    table.take(2, 0);
    table.finish(done, "COMPLETED", resultOf(1), 1);
    table.finish(failed, "FAILED", resultOf(1), 1);
    assert.isEmpty(done.request);
    assert.isNotEmpty(failed.request);
    table.retry(failed);
    assert.deepInclude(failed, { status: "IN_QUEUE", retries: 1, result: undefined });
    assert.deepInclude(table.counts(), { COMPLETED: 1, FAILED: 1, retried: 1, IN_QUEUE: 1 });
    assert.isUndefined(table.oldestExcess());
  });

  it("are removed when there are more than a thousand results, oldest first", () => {
    const table = new JobTable();
    const entries = Array.from({ length: 1002 }, () => newEntry(undefined, "COMPLETED"));
    for (const entry of entries) table.add(entry);
    for (const entry of entries.slice(0, 2)) {
      assert.strictEqual(table.oldestExcess(), entry);
      table.remove(entry);
    }
    assert.isUndefined(table.oldestExcess());
    assert.isUndefined(table.find(entries[0]?.id ?? ""));
  });

  it("have the correct total size after any changes", () => {
    const dice = seededRandom(1);
    const table = new JobTable();
    const pick = (isWanted: (entry: JobEntry) => boolean) =>
      table.all().find((entry) => isWanted(entry) && dice.hits(0.3));
    for (let step = 0; step < 3000; step += 1) {
      const size = Math.floor(dice.between(0, 100));
      const running = pick(({ status }) => status === "IN_PROGRESS");
      const ended = pick(({ status }) => isFinal(status));
      const any = pick(() => true);
      dice.pick([
        () => table.add(newEntry(Buffer.alloc(size))),
        () => table.take(1, 0),
        () => running && table.setProgress(running, SentResult.ofError("x".repeat(size))),
        () =>
          running && table.finish(running, dice.pick(["COMPLETED", "FAILED"]), resultOf(size), 0),
        () => ended && table.finish(ended, "CANCELLED", undefined, 0),
        () => any && table.addValue(any, Buffer.alloc(size)),
        () => any && table.fetchValues(any),
        () => ended?.status === "FAILED" && table.retry(ended),
        () => ended && table.remove(ended),
      ])();
      const sum = table
        .all()
        .filter(({ status }) => isFinal(status))
        .reduce((total, entry) => total + sizeOf(entry), 0);
      assert.strictEqual(table.finishedBytes, sum, `after step ${step}`);
    }
    assert.isAbove(table.counts().retried, 10);
  });
});

describe("the next expiry of a job", () => {
  it("is its ttl until it runs, and then its ttl or its execution timeout, whichever is earlier", () => {
    const entry = newEntry(undefined, undefined, { ttl: 60_000, executionTimeout: 5000 });
    assert.deepStrictEqual(nextExpiry(entry), { expiry: "ttl", at: 61_000 });
    entry.started = 2000;
    assert.deepStrictEqual(nextExpiry(entry), { expiry: "executionTimeout", at: 7000 });
    entry.started = 59_000;
    assert.deepStrictEqual(nextExpiry(entry), { expiry: "ttl", at: 61_000 });
  });

  it("has RunPod's defaults: 30 minutes for a result, 10 minutes to run and 24 hours in all", () => {
    const entry = newEntry();
    assert.deepStrictEqual(nextExpiry(entry), { expiry: "ttl", at: 1000 + 24 * 60 * 60_000 });
    entry.started = 2000;
    assert.deepStrictEqual(nextExpiry(entry), { expiry: "executionTimeout", at: 602_000 });
    entry.ended = 3000;
    assert.deepStrictEqual(nextExpiry(entry), { expiry: "retention", at: 1_803_000 });
  });
});
