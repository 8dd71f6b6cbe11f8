import { describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { findTools } from "../support/processes/TestMachine.ts";
import { IS_FULL } from "../support/values/FullLength.ts";
import { killedInstalls } from "./KilledInstalls.ts";
import { killedBuilders, manyColdWorkers } from "./WorkspaceFaults.ts";

const tools = await Effect.runPromise(findTools);

/** These tests take many minutes, so only the nightly run sets this variable. */
describe.skipIf(!IS_FULL)("a network volume (full numbers)", () => {
  it.live(
    "is prepared once when 64 workers start at the same time",
    () => manyColdWorkers(tools, 64),
    600_000,
  );

  it.live(
    "has a complete venv after each of 50 killed builds",
    () => killedBuilders(tools, 50),
    1_800_000,
  );

  it.live(
    "has complete packages after each of 50 killed installs",
    () => killedInstalls(tools, 50),
    1_800_000,
  );
});
