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
 * A worker as far as the packages of its jobs: one list after the other, each followed by a line of Python in
 * the environment that it leads to; says what these lines printed.
 */
NodeRuntime.runMain(
  Effect.gen(function* () {
    const packages = yield* PythonPackages;
    const workspace = yield* Workspace;
    const lists = yield* decodeLists(process.env["PACKAGES"] ?? "[]");
    const answers: Array<string> = [];
    for (const list of lists) {
      const failure = yield* Effect.flatMap(workspace.ready, (prepared) =>
        packages.ensure(list, prepared),
      ).pipe(Effect.flip, Effect.option);
      if (failure._tag === "Some") {
        answers.push(failure.value.message);
        continue;
      }
      const { python } = yield* workspace.ready;
      answers.push(
        execFileSync(python, ["-c", process.env["CODE"] ?? ""], { encoding: "utf8" }).trim(),
      );
    }
    const { directory, prefix, python, version } = yield* workspace.ready;
    process.stdout.write(`${JSON.stringify({ directory, prefix, python, version, answers })}\n`);
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
