import { NodeRuntime, NodeServices } from "@effect/platform-node";
import { Effect, Layer, Logger } from "effect";

import { Environment } from "../../../src/settings/Environment.ts";
import { Workspace } from "../../../src/workspace/Workspace.ts";

/** On stderr, so that stdout has the answer alone. */
const logger = Logger.make(({ logLevel, message }) => {
  process.stderr.write(`${logLevel}: ${[message].flat().join(" ")}\n`);
});

/** A worker as far as its workspace: says what it has, and lives until its stdin ends. */
NodeRuntime.runMain(
  Effect.gen(function* () {
    const { directory, prefix, python, version } = yield* (yield* Workspace).ready;
    process.stdout.write(`${JSON.stringify({ directory, prefix, python, version })}\n`);
    yield* Effect.callback<void>((resume) => {
      process.stdin.resume().once("end", () => resume(Effect.void));
    });
  }).pipe(
    Effect.provide(
      Workspace.layer.pipe(
        Layer.provide(Environment.layer),
        Layer.provide(NodeServices.layer),
        Layer.provideMerge(Logger.layer([logger])),
      ),
    ),
  ),
);
