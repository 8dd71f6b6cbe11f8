import { describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { findTools } from "../support/processes/TestMachine.ts";
import { killedInstalls } from "./KilledInstalls.ts";
import { killedBuilders, manyColdWorkers } from "./WorkspaceFaults.ts";

const tools = await Effect.runPromise(findTools);

/** These take many minutes: a nightly run sets the variable. */
const full = (process.env["WORKER_FULL_FAULTS"] ?? "") !== "";

describe.skipIf(!full)("a network volume (full numbers)", () => {
  it.live(
    "is prepared once by 64 workers that start together",
    () => manyColdWorkers(tools, 64),
    600_000,
  );

  it.live(
    "has a complete environment after each of 50 builders that were killed",
    () => killedBuilders(tools, 50),
    1_800_000,
  );

  it.live(
    "has complete packages after each of 50 installs that were killed",
    () => killedInstalls(tools, 50),
    1_800_000,
  );
});
