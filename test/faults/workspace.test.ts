import { describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { findTools } from "../support/processes/TestMachine.ts";
import { killedInstalls } from "./KilledInstalls.ts";
import { killedBuilders, manyColdWorkers } from "./WorkspaceFaults.ts";

const tools = await Effect.runPromise(findTools);

/** These take many minutes: a nightly run sets the variable. */
const full = (process.env["WORKER_FULL_FAULTS"] ?? "") !== "";

describe.skipIf(!full)("a volume, in full numbers", () => {
  it.live("serves 64 workers that start at once", () => manyColdWorkers(tools, 64), 600_000);

  it.live("is sound after each of 50 kills", () => killedBuilders(tools, 50), 1_800_000);

  it.live("has whole packages after each of 50 kills", () => killedInstalls(tools, 50), 1_800_000);
});
