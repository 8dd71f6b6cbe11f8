import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";
import { TestClock } from "effect/testing";

import { IS_FULL } from "../support/values/FullLength.ts";
import { simulate } from "./Simulation.ts";

/** All schedules take minutes, so only the nightly run sets this variable. */
/** Replays the schedule of a failure. */
const REPLAYED = process.env["SIMULATION_SEED"];

const SCHEDULES = IS_FULL ? 10_000 : 300;

const run = (seed: number) => Effect.provide(simulate(seed), TestClock.layer());

describe("the queue worker under random faults", () => {
  it.live.skipIf(REPLAYED !== undefined)(
    `reports each job once, leaks nothing and ends (${SCHEDULES} schedules)`,
    () =>
      Effect.gen(function* () {
        const happened = new Map<string, number>();
        for (let seed = 1; seed <= SCHEDULES; seed += 1) {
          const outcome = yield* run(seed);
          assert.deepStrictEqual(
            outcome.violations,
            [],
            `To replay it: SIMULATION_SEED=${seed} npx vitest run test/simulation`,
          );
          for (const [name, count] of Object.entries(outcome.happened)) {
            happened.set(name, (happened.get(name) ?? 0) + count);
          }
        }
        for (const [name, count] of happened) {
          assert.isAbove(count, SCHEDULES / 30, `too few schedules have ${name}`);
        }
      }),
    1_800_000,
  );

  // Only useful with the seed of a schedule that failed.
  it.live.skipIf(REPLAYED === undefined)(
    `has no violations in schedule ${REPLAYED}`,
    () =>
      Effect.gen(function* () {
        const { violations } = yield* run(Number(REPLAYED));
        assert.deepStrictEqual(violations, []);
      }),
    60_000,
  );

  it.live("behaves the same with the same seed", () =>
    Effect.gen(function* () {
      for (const seed of [1, 2, 3, 4, 5]) {
        assert.deepStrictEqual(yield* run(seed), yield* run(seed));
      }
    }),
  );
});
