import { assert, describe, it } from "@effect/vitest";

import { mountType } from "../../../src/platform/files/Mounts.ts";

const MOUNTS = `1 0 0:1 / / rw,relatime shared:1 - overlay overlay rw
2 1 0:2 / /proc rw - proc proc rw
3 1 0:3 / /runpod-volume rw,nosuid - fuse.mfs mfs#master:9421 rw
4 1 0:4 / /with\\040space rw - nfs4 server:/ rw
5 1 0:5 / /tmp rw - ext4 /dev/sda rw
6 1 0:6 / /tmp rw - tmpfs tmpfs rw
`;

describe("mountType", () => {
  it.each([
    ["/home/me", "overlay"],
    ["/runpod-volume", "fuse.mfs"],
    ["/runpod-volume/runtimes/a", "fuse.mfs"],
    ["/runpod-volume-2", "overlay"],
    ["/with space/a", "nfs4"],
  ] as const)("of %s is that of the closest mount point: %s", (path, type) => {
    assert.strictEqual(mountType(MOUNTS, path), type);
  });

  it("is that of the last mount at a mount point", () => {
    assert.strictEqual(mountType(MOUNTS, "/tmp/a"), "tmpfs");
  });

  it("is unknown without mounts", () => {
    assert.isUndefined(mountType("", "/tmp"));
  });
});
