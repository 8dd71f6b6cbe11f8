import { NodeRuntime, NodeServices } from "@effect/platform-node";
import { Effect, Layer } from "effect";

import { Environment } from "../../../src/settings/Environment.ts";
import { Workspace } from "../../../src/workspace/Workspace.ts";
import { stderrLogger, untilStdinEnds } from "./ProgramRuntime.ts";

/** A worker as far as its workspace: says what it has, and lives until its stdin ends. */
NodeRuntime.runMain(
  Effect.gen(function* () {
    const { directory, prefix, python, version } = yield* (yield* Workspace).ready;
    process.stdout.write(`${JSON.stringify({ directory, prefix, python, version })}\n`);
    yield* untilStdinEnds;
  }).pipe(
    Effect.provide(
      Workspace.layer.pipe(
        Layer.provide(Environment.layer),
        Layer.provide(NodeServices.layer),
        Layer.provideMerge(stderrLogger),
      ),
    ),
  ),
);
