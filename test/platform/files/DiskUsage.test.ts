import { tmpdir } from "node:os";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Option } from "effect";

import { DiskUsage, formatBytes } from "../../../src/platform/files/DiskUsage.ts";
import { fakePrograms } from "../../support/fakes/FakePrograms.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";
import { fakeVolumeProcess } from "../../support/machine/FakeVolumeProcess.ts";

/** A machine on which `du` prints these lines by folder. */
const withFolders = (sizes: Readonly<Record<string, string>>) =>
  Effect.provide(
    DiskUsage.layerNoDeps.pipe(
      Layer.provide(fakePrograms((line) => sizes[line.split(" ").at(-1) ?? ""]).layer),
      Layer.provide(fakeVolumeProcess(memoryFileSystem()).layer),
    ),
  );

describe("formatBytes", () => {
  it.each([
    [0, "0 B"],
    [4096, "4.1 kB"],
    [49_000_000, "49.0 MB"],
    [2_000_000_000, "2.0 GB"],
    [999_999_999_999, "1.0 TB"],
    [2 ** 60, "1.2 EB"],
  ])("shows %d as %s", (bytes, text) => {
    assert.strictEqual(formatBytes(bytes), text);
  });
});

describe("DiskUsage", () => {
  it.effect("returns the size of a folder, or none if it does not exist or du fails", () =>
    Effect.gen(function* () {
      const { size } = yield* DiskUsage;
      assert.deepStrictEqual(yield* size("/volume/a"), Option.some(2048));
      assert.deepStrictEqual(yield* size("/volume/b"), Option.none());
      assert.deepStrictEqual(yield* size("/volume/c"), Option.none());
    }).pipe(withFolders({ "/volume/a": "2\t/volume/a\n", "/volume/b": "du: no\n" })),
  );

  it.effect("reports the disk and the folders that exist", () =>
    Effect.gen(function* () {
      const { report } = yield* DiskUsage;
      const [disk = "", ...folders] = (yield* report(tmpdir(), ["/volume/a", "/volume/c"])).split(
        "\n",
      );
      assert.match(disk, /^\/.+: [\d.]+ .?B free of [\d.]+ .?B \(without regard to quotas\)$/);
      assert.deepStrictEqual(folders, ["  /volume/a: 2.0 kB"]);
      assert.strictEqual(yield* report("/nowhere", []), "/nowhere: free space is unknown");
    }).pipe(withFolders({ "/volume/a": "2\t/volume/a\n" })),
  );

  it.effect("asks the process of the volume about folders there", () =>
    Effect.gen(function* () {
      const { report } = yield* DiskUsage;
      assert.strictEqual(
        yield* report("/runpod-volume", ["/runpod-volume/runtimes"]),
        "/runpod-volume: 0 B free of 5.0 GB (without regard to quotas)\n  /runpod-volume/runtimes: 2.0 GB",
      );
    }).pipe(withFolders({})),
  );
});
