import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer } from "effect";
import { TestClock } from "effect/testing";

import { BackgroundWork } from "../../../src/platform/BackgroundWork.ts";
import { DiskFault } from "../../../src/platform/files/DiskFault.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import {
  EMPTY_PROFILE,
  type Profile,
  withFiles,
  withUsed,
} from "../../../src/workspace/profile/Profile.ts";
import { ReadAhead } from "../../../src/workspace/profile/ReadAhead.ts";
import { yieldUntil } from "../../support/effects/Waiting.ts";
import { memoryProfile, prepared } from "../../support/fakes/FakeRunner.ts";
import { answeringVolumeProcess } from "../../support/machine/AnsweringVolumeProcess.ts";

const FILE = { path: "lib/torch.so", ranges: [[0, 131_072]] } as const;
const onVolume = { directory: "/volume/runtimes/one" };

/** A worker whose volume process replies to an operation. */
const setUp = (profile: Profile, reply: unknown) => {
  const kept = memoryProfile(profile);
  const volume = answeringVolumeProcess(
    () => (reply instanceof DiskFault ? Effect.fail(reply) : Effect.succeed(reply)),
    "/volume",
  );
  const layer = ReadAhead.layerNoDeps.pipe(
    Layer.provide([kept.layer, volume.layer, BackgroundWork.layer]),
    Layer.provide(
      Environment.layerOf({ RUNPOD_VOLUME_PATH: "/volume", RUNPOD_ENDPOINT_ID: "one" }),
    ),
  );
  return { requests: volume.requests, current: kept.current, provide: Effect.provide(layer) };
};

const used = withFiles(withUsed(EMPTY_PROFILE, ["torch"], 0), [FILE]);

describe("ReadAhead", () => {
  it.effect("reads the recorded parts of the files in the endpoint's virtual environment", () => {
    const { requests, provide } = setUp(used, 131_072);
    return Effect.gen(function* () {
      yield* (yield* ReadAhead).read;
      assert.strictEqual(requests[0]?.operation, "readahead.read");
      assert.deepInclude(requests[0]?.args, { root: "/volume/runtimes/one/.venv", files: [FILE] });
    }).pipe(provide);
  });

  it.effect.each([
    ["jobs have not used it for a week", used, "8 days"],
    ["nothing was recorded", withUsed(EMPTY_PROFILE, ["torch"], 0), "1 hour"],
  ] as const)("reads nothing if %s", ([, profile, later]) => {
    const { requests, provide } = setUp(profile, 0);
    return Effect.gen(function* () {
      yield* TestClock.adjust(later);
      yield* (yield* ReadAhead).read;
      assert.isEmpty(requests);
    }).pipe(provide);
  });

  it.effect("ignores a volume that does not respond", () => {
    const fault = new DiskFault({
      path: "/volume",
      problem: "is slow",
      code: "ETIMEDOUT",
      detail: "",
    });
    const { current, provide } = setUp(used, fault);
    return Effect.gen(function* () {
      const { read, record } = yield* ReadAhead;
      yield* read;
      yield* record(onVolume, 7);
      for (let turns = 0; turns < 100; turns += 1) yield* Effect.yieldNow;
      assert.strictEqual(current(), used);
    }).pipe(provide);
  });

  it.effect("records what a process has mapped, without paths that lead elsewhere", () => {
    const { requests, current, provide } = setUp(EMPTY_PROFILE, [
      FILE,
      { path: "../other", ranges: [[0, 1]] },
    ]);
    return Effect.gen(function* () {
      yield* (yield* ReadAhead).record(onVolume, 7);
      yield* yieldUntil(() => current().files.length > 0);
      assert.deepStrictEqual(current().files, [FILE]);
      assert.deepStrictEqual(requests, [
        {
          operation: "readahead.mapped",
          args: { pid: 7, root: "/volume/runtimes/one/.venv" },
        },
      ]);
    }).pipe(provide);
  });

  it.effect("records nothing for a workspace on the container's disk", () => {
    const { requests, provide } = setUp(EMPTY_PROFILE, [FILE]);
    return Effect.gen(function* () {
      yield* (yield* ReadAhead).record(prepared, 7);
      for (let turns = 0; turns < 100; turns += 1) yield* Effect.yieldNow;
      assert.isEmpty(requests);
    }).pipe(provide);
  });
});
