import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";

import { assert } from "@effect/vitest";
import { Effect, Random, Result, Schedule } from "effect";

import { poll } from "../support/effects/Waiting.ts";
import { testMachine, type findTools } from "../support/processes/TestMachine.ts";

type Tools = Effect.Success<typeof findTools>;

/** Packages with many small files, so that kills often hit an install half-way. */
const LIST = ["babel==2.15.0", "pytz==2024.1", "tzdata==2024.1"];
const NAMES = ["babel", "pytz", "tzdata"];

/** Imports the packages, and checks that every file in their RECORD exists. */
const CHECK = `import importlib.metadata, babel, pytz, tzdata
missing = [str(file) for name in ${JSON.stringify(NAMES)}
           for file in importlib.metadata.files(name) if not file.locate().exists()]
print(babel.__version__, pytz.__version__, tzdata.__version__, missing)`;

const GOOD = ["2.15.0 2024.1 2024.1 []"];

/** The uv process that a worker has started, if it is running. */
const uvOf = (worker: number): number | undefined => {
  const isUvOfWorker = (pid: string) => {
    const stat = Result.getOrElse(
      Result.try(() => readFileSync(`/proc/${pid}/stat`, "utf8")),
      () => "",
    );
    return new RegExp(String.raw`^\d+ \(uv\) \S ${worker} `).test(stat);
  };
  const found = readdirSync("/proc").find((name) => /^\d+$/.test(name) && isUvOfWorker(name));
  return found === undefined ? undefined : Number(found);
};

/** Waits until a process has ended; zombies count as ended. */
const awaitEnd = (pid: number) =>
  poll(
    Effect.sync(() => Result.try(() => readFileSync(`/proc/${pid}/stat`, "utf8"))),
    (stat) => Result.isFailure(stat) || /\) [ZX] /.test(stat.success),
  );

/** Workers and their uv are killed at random times of an install: the next job always has complete packages. */
export const killedInstalls = (tools: Tools, count: number) =>
  Effect.gen(function* () {
    const machine = yield* testMachine(tools);
    const settings = { PACKAGES: JSON.stringify([LIST]), CODE: CHECK };
    // Fills the package cache, so that kills hit the install and not a download.
    const first = yield* machine.start(settings);
    assert.deepStrictEqual((yield* first.ready).outputs, GOOD);
    yield* first.signal("SIGKILL");
    yield* first.ended;
    let hits = 0;
    for (let kills = 0; kills < count; kills += 1) {
      const prefix = machine.published();
      execFileSync(machine.uv, [
        "pip",
        "uninstall",
        "-q",
        "--python",
        `${prefix}/bin/python`,
        ...NAMES,
      ]);
      yield* Effect.gen(function* () {
        const worker = yield* machine.start(settings);
        yield* worker.wrote("Installing babel");
        // The first two kills always hit uv: one through its worker, one directly.
        const uv =
          kills < 2
            ? yield* Effect.repeat(
                Effect.sync(() => uvOf(worker.pid)),
                { until: (pid) => pid !== undefined, schedule: Schedule.spaced("1 millis") },
              ).pipe(Effect.timeout("30 seconds"))
            : yield* Effect.sync(() => uvOf(worker.pid)).pipe(
                Effect.delay({ milliseconds: yield* Random.nextIntBetween(0, 300) }),
              );
        if (uv !== undefined) hits += 1;
        if (kills % 2 === 0 || uv === undefined) yield* worker.signal("SIGKILL");
        else Result.try(() => process.kill(uv, "SIGKILL"));
        if (uv !== undefined && kills < 2) yield* awaitEnd(uv);
        if (kills % 2 === 0) yield* worker.ended;
        else yield* Effect.race(Effect.exit(worker.ready), worker.ended);
      }).pipe(Effect.scoped);
      const next = yield* machine.start(settings);
      assert.deepStrictEqual((yield* next.ready).outputs, GOOD, `kill ${kills}`);
      yield* next.signal("SIGKILL");
      yield* next.ended;
    }
    assert.isAbove(hits, 0, "no kill hit uv");
  }).pipe(Effect.scoped);
