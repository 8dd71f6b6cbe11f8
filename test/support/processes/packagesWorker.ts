import { execFileSync } from "node:child_process";

import { NodeRuntime, NodeServices } from "@effect/platform-node";
import { Effect, Layer, Logger, Schema } from "effect";

import { PythonPackages } from "../../../src/dependencies/PythonPackages.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { Workspace } from "../../../src/workspace/Workspace.ts";

/** On stderr, so that stdout has the answer alone. */
const logger = Logger.make(({ logLevel, message }) => {
  process.stderr.write(`${logLevel}: ${[message].flat().join(" ")}\n`);
});

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
    yield* Effect.callback<void>((resume) => {
      process.stdin.resume().once("end", () => resume(Effect.void));
    });
  }).pipe(
    Effect.provide(
      Layer.mergeAll(PythonPackages.layer, Workspace.layer).pipe(
        Layer.provide(Environment.layer),
        Layer.provide(NodeServices.layer),
        Layer.provideMerge(Logger.layer([logger])),
      ),
    ),
  ),
);
