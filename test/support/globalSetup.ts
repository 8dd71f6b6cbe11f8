import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { Effect, Layer } from "effect";
import type { TestProject } from "vitest/node";

import { Environment } from "../../src/settings/Environment.ts";
import { Workspace } from "../../src/workspace/Workspace.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** A workspace with a virtual environment that is ready, shared by the tests with real Python. */
    readonly workspace: string;
  }
}

/** Builds the shared workspace once, as a worker does at its first start. */
export default async function setup(project: TestProject) {
  const workspace = mkdtempSync(join(tmpdir(), "worker-tetra-tests-"));
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
  return () => rmSync(workspace, { recursive: true, force: true });
}
