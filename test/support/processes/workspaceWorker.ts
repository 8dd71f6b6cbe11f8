import { NodeRuntime, NodeServices } from "@effect/platform-node";
import { Effect, Layer } from "effect";

import { Environment } from "../../../src/settings/Environment.ts";
import { Workspace } from "../../../src/workspace/Workspace.ts";
import { stderrLogger, untilStdinEnds } from "./ProgramRuntime.ts";

/** The part of a worker that prepares the workspace. Prints it as JSON and runs until stdin ends. */
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
