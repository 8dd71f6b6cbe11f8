import { execFileSync } from "node:child_process";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { NodeServices } from "@effect/platform-node";
import { Effect, Layer } from "effect";
import type { TestProject } from "vitest/node";

import { Environment } from "../../../src/settings/Environment.ts";
import { Workspace } from "../../../src/workspace/Workspace.ts";
import { makeTemporaryFolder, removeFolder } from "../files/TemporaryFolder.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** A prepared workspace, shared by all tests with real Python. */
    readonly workspace: string;
    /** The entry point of the bundled program, as in the images. It loads much faster than the sources. */
    readonly program: string;
  }
}

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** Bundles the program into a folder; returns its entry point. */
const bundle = (folder: string): string => {
  const config = ["-c", ".rolldown.mjs", "-d", join(folder, "lib")];
  execFileSync(join(ROOT, "node_modules/.bin/rolldown"), config, { cwd: ROOT, stdio: "inherit" });
  cpSync(join(ROOT, "src/python"), join(folder, "python"), { recursive: true });
  for (const name of ["bin.mjs", "preflight.mjs"]) {
    cpSync(join(ROOT, "src", name), join(folder, name));
  }
  return join(folder, "bin.mjs");
};

/** Bundles the program and prepares the shared workspace, once for all tests. */
export default async function setup(project: TestProject) {
  const program = makeTemporaryFolder();
  project.provide("program", bundle(program));
  const workspace = makeTemporaryFolder();
  project.provide("workspace", workspace);
  await Effect.runPromise(
    Effect.gen(function* () {
      yield* (yield* Workspace).ready;
    }).pipe(
      Effect.provide(
        Workspace.layer.pipe(
          Layer.provide(
            Environment.layerOf({
              ...process.env,
              RUNPOD_VOLUME_PATH: "/nonexistent",
              WORKER_WORKSPACE_PATH: workspace,
            }),
          ),
          Layer.provide(NodeServices.layer),
        ),
      ),
    ),
  );
  return () => {
    for (const folder of [program, workspace]) removeFolder(folder);
  };
}
