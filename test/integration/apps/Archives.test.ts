import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { openAppFolder } from "../../../src/apps/artifact/AppArtifact.ts";
import { listResources, readApp } from "../../../src/apps/manifest/AppManifest.ts";
import { artifactOf } from "../../support/clients/Clients.ts";
import { listing } from "../../support/files/Listing.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";

describe("archives of real clients", () => {
  it.live.each(["flash", "sdk"] as const)(
    "of %s are unpacked as Python's tarfile does, and all resources can be read",
    (client) =>
      Effect.gen(function* () {
        const archive = yield* artifactOf(client);
        const folder = yield* openAppFolder(archive);
        const expected = join(yield* temporaryFolder, "expected");
        mkdirSync(expected);
        execFileSync("python3", ["-m", "tarfile", "-e", archive, expected]);
        const { [".worker-tetra-app.json"]: _marker, ...unpacked } = listing(folder);
        assert.deepStrictEqual(unpacked, listing(expected));

        const resources = yield* listResources(folder);
        assert.isNotEmpty(resources);
        for (const { name, kind } of resources) {
          const { resource } = yield* readApp(folder, name);
          assert.deepStrictEqual([resource.client, resource.kind], [client, kind]);
          assert.isNotEmpty(resource.targets);
        }
      }).pipe(Effect.provide(NodeServices.layer)),
    // The client installs the packages of the app if no other test has built it before.
    300_000,
  );
});
