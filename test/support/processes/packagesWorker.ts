import { execFileSync } from "node:child_process";

import { NodeRuntime, NodeServices } from "@effect/platform-node";
import { Effect, Layer, Schema } from "effect";

import { PythonPackages } from "../../../src/dependencies/PythonPackages.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { Workspace } from "../../../src/workspace/Workspace.ts";
import { stderrLogger, untilStdinEnds } from "./ProgramRuntime.ts";

const decodeLists = Schema.decodeUnknownEffect(
  Schema.fromJsonString(Schema.Array(Schema.Array(Schema.String))),
);

/**
 * The part of a worker that installs packages. For each list in PACKAGES, installs it and runs CODE in the venv; prints
 * the workspace and the outputs as JSON.
 */
NodeRuntime.runMain(
  Effect.gen(function* () {
    const packages = yield* PythonPackages;
    const workspace = yield* Workspace;
    const lists = yield* decodeLists(process.env["PACKAGES"] ?? "[]");
    const outputs: Array<string> = [];
    for (const list of lists) {
      const failure = yield* Effect.flatMap(workspace.ready, (prepared) =>
        packages.ensure(list, prepared),
      ).pipe(Effect.flip, Effect.option);
      if (failure._tag === "Some") {
        outputs.push(failure.value.message);
        continue;
      }
      const { python } = yield* workspace.ready;
      outputs.push(
        execFileSync(python, ["-c", process.env["CODE"] ?? ""], { encoding: "utf8" }).trim(),
      );
    }
    const { directory, prefix, python, version } = yield* workspace.ready;
    process.stdout.write(`${JSON.stringify({ directory, prefix, python, version, outputs })}\n`);
    yield* untilStdinEnds;
  }).pipe(
    Effect.provide(
      Layer.mergeAll(PythonPackages.layer, Workspace.layer).pipe(
        Layer.provide(Environment.layer),
        Layer.provide(NodeServices.layer),
        Layer.provideMerge(stderrLogger),
      ),
    ),
  ),
);
