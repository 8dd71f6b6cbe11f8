import { NodeServices } from "@effect/platform-node";
import { Effect, Layer } from "effect";

import type { AppResource } from "../../../src/domain/DeployedApp.ts";
import { AppRunner } from "../../../src/runner/apps/AppRunner.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { Workspace } from "../../../src/workspace/Workspace.ts";
import { type AppFiles, writeApp } from "../apps/PackedApp.ts";
import { temporaryFolder } from "../files/TemporaryFolder.ts";
import { realEnvironment } from "./RealWorker.ts";

/** Runs apps with real Python. */
export const realApps = (settings?: Readonly<Record<string, string>>) =>
  Layer.mergeAll(AppRunner.layer, Workspace.layer).pipe(
    Layer.provide(Environment.layerOf(realEnvironment(settings))),
    Layer.provide(NodeServices.layer),
  );

interface Changes {
  readonly concurrency?: number;
  readonly resource?: Partial<AppResource>;
}

/** The target of an app whose jobs call the function `f`. */
const FUNCTION = { module: "main", name: "f", methods: [] };

/** Opens an app of Flash, whose `main.py` defines `f`; returns its folder. */
export const openApp = Effect.fnUntraced(function* (
  files: AppFiles,
  { concurrency = 1, resource = {} }: Changes = {},
) {
  const folder = yield* temporaryFolder;
  writeApp(folder, files);
  const opened = yield* (yield* AppRunner).open({
    resource: {
      client: "flash",
      name: "app",
      kind: "queue",
      targets: [FUNCTION],
      handlerFile: null,
      ...resource,
    },
    folder,
    path: [folder],
    workspace: yield* (yield* Workspace).ready,
    concurrency,
  });
  return { folder, opened };
});

/** Runs a job of the open app. */
export const job = Effect.fnUntraced(function* (
  input: unknown,
  options: { readonly chunks?: Array<string | undefined> } = {},
) {
  const { chunks } = options;
  const { value, result, output } = yield* (yield* AppRunner).job({
    input: Buffer.from(JSON.stringify(input)),
    limit: 1_000_000,
    ...(chunks === undefined
      ? {}
      : { chunkLimit: 1000, chunk: (item) => chunks.push(item?.text()) }),
  });
  return { value: value?.text(), result, output };
});
