import { cpus, tmpdir } from "node:os";
import { join } from "node:path";

import { NodeRuntime, NodeServices } from "@effect/platform-node";
import { Console, Effect, Layer, References } from "effect";

import { RemoteExecutor } from "../../src/functions/RemoteExecutor.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { Workspace } from "../../src/workspace/Workspace.ts";
import { startOfCheckout } from "./Checkout.ts";
import { startOfFlash, startOfSdk, warmFlash, warmSdk } from "./Deployed.ts";
import { runsyncOne, runsyncSixteen } from "./Endpoint.ts";
import { idleMemory } from "./Idle.ts";
import { packagesAgain, packagesCold, packagesFirst, packagesOfImage } from "./Packages.ts";
import {
  firstJob,
  idleTakes,
  queueOne,
  queueTen,
  startOfBundle,
  startOfSources,
  startWithCache,
} from "./Queue.ts";
import { crash, flood, largePayload, memory, trivialCall } from "./Rows.ts";
import { coldStart, crowdStart, warmStart } from "./Starts.ts";
import {
  volumeFirstJob,
  volumeIdleJob,
  volumeInstall,
  volumeLaterInstall,
  volumeOperations,
  Volumes,
} from "./Volume.ts";

const worker = Layer.mergeAll(RemoteExecutor.layer, Workspace.layer, Volumes.layer).pipe(
  Layer.provide(
    Environment.layerOf({
      ...process.env,
      RUNPOD_VOLUME_PATH: "/nonexistent",
      WORKER_WORKSPACE_PATH: join(tmpdir(), "worker-tetra-bench"),
    }),
  ),
  Layer.provideMerge(NodeServices.layer),
  Layer.provideMerge(Layer.succeed(References.MinimumLogLevel, "Warn")),
);

/** The rows of the table, by name. */
const ROWS = {
  trivialCall,
  largePayload,
  flood,
  memory,
  crash,
  warmStart,
  coldStart,
  crowdStart,
  packagesAgain,
  packagesFirst,
  packagesOfImage,
  packagesCold,
  queueOne,
  queueTen,
  startOfSources,
  startOfBundle,
  startWithCache,
  startOfCheckout,
  firstJob,
  idleTakes,
  idleMemory,
  startOfFlash,
  startOfSdk,
  warmFlash,
  warmSdk,
  runsyncOne,
  runsyncSixteen,
  volumeOperations,
  volumeInstall,
  volumeLaterInstall,
  volumeFirstJob,
  volumeIdleJob,
};

/** The names among the arguments; all rows if there are none. */
const chosen = process.argv.slice(2).filter((argument) => !argument.startsWith("--"));

/** Prints each row of the table when it is measured. `--strict` fails if a limit is exceeded. */
Effect.gen(function* () {
  const { version } = yield* (yield* Workspace).ready;
  yield* Console.log(
    `${cpus().length} cores, Node ${process.versions.node}, Python ${version}\n\n| what | worker | beside it | bar | met |\n|---|---|---|---|---|`,
  );
  let missed = 0;
  for (const [name, row] of Object.entries(ROWS)) {
    if (chosen.length > 0 && !chosen.includes(name)) continue;
    const { what, ours, baseline, bar, met } = yield* row;
    if (!met) missed += 1;
    yield* Console.log(`| ${what} | ${ours} | ${baseline} | ${bar} | ${met ? "yes" : "no"} |`);
  }
  if (missed > 0 && process.argv.includes("--strict")) process.exitCode = 1;
}).pipe(Effect.provide(worker), NodeRuntime.runMain);
