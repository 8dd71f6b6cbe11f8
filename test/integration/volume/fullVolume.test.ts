import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { call, realWorker } from "../../support/processes/RealWorker.ts";

/** Enough for the base packages (about 12 MB), but not much more. */
const SIZE = "24m";

/** A small disk to use as the volume. Only root can mount one. */
const smallDisk = Effect.flatMap(temporaryFolder, (folder) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${SIZE}`, "tmpfs", folder]);
      return { folder, isMounted: mounted.status === 0 };
    }),
    ({ isMounted }) => Effect.sync(() => isMounted && void spawnSync("umount", ["-l", folder])),
  ),
);

const canMount = await Effect.runPromise(
  Effect.scoped(Effect.map(smallDisk, ({ isMounted }) => isMounted)),
);

describe.skipIf(!canMount)("a worker on a full volume", () => {
  it.live("installs packages that do not fit on the container's disk", () =>
    Effect.gen(function* () {
      const { folder } = yield* smallDisk;
      const containerDisk = yield* temporaryFolder;
      const where = "import sys\ndef f(): return sys.prefix";
      yield* Effect.gen(function* () {
        const before = yield* call(where, "f");
        assert.include(String(before.json_result ?? before.error), folder);
        writeFileSync(join(folder, "model.bin"), Buffer.alloc(4_000_000));
        const response = yield* call("import sys, sympy\ndef f(): return sys.prefix", "f", [], {
          dependencies: ["sympy==1.13.3"],
        });
        assert.include(String(response.json_result ?? response.error), containerDisk);
        // The next job does not use the volume, and installs nothing.
        const again = yield* call("import sys, sympy\ndef f(): return sys.prefix", "f", [], {
          dependencies: ["sympy==1.13.3"],
        });
        assert.strictEqual(again.json_result, response.json_result);
      }).pipe(
        Effect.provide(
          realWorker({
            RUNPOD_VOLUME_PATH: folder,
            WORKER_WORKSPACE_PATH: containerDisk,
            UV_CACHE_DIR: join(containerDisk, "uv"),
          }),
        ),
      );
    }).pipe(Effect.scoped),
  );
});
