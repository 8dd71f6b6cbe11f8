import { basename } from "node:path";

import { Effect, Metric } from "effect";

import type { Place } from "../../venv/Place.ts";
import type { Venv } from "../../venv/Venv.ts";
import { venvsCreated } from "../../venv/VenvBuilder.ts";
import { locksAcquired, locksTimedOut, lockWaits } from "../../venv/leases/Leases.ts";
import { LastStart } from "../LastStart.ts";
import type { Origin } from "./WorkspaceVenvs.ts";

const venvsReused = Metric.counter("workspace_venv_reused", { incremental: true });
const venvsRebuilt = Metric.counter("workspace_venv_rebuilt", { incremental: true });

/** The workspace metrics of this process, for the log. */
const metricsSummary = Effect.gen(function* () {
  const counts = yield* Effect.forEach(
    [locksAcquired, locksTimedOut, venvsCreated, venvsReused, venvsRebuilt],
    (counter) => Effect.map(Metric.value(counter), ({ count }) => count),
  );
  const { sum } = yield* Metric.value(lockWaits);
  const [acquired, timedOut, created, reused, rebuilt] = counts;
  return `locks: ${acquired} acquired, ${timedOut} timed out, ${(sum / 1000).toFixed(2)} s waited; virtual environments: ${created} created, ${reused} reused, ${rebuilt} rebuilt`;
});

/** How a workspace was prepared. */
export interface Preparation {
  readonly place: Place;
  readonly venv: Venv;
  readonly origin: Origin;
  readonly milliseconds: number;
  /** Why the network volume is not used, if it exists. */
  readonly volumeFault: string | null;
}

/** Counts and logs how a workspace was prepared, and writes a record to the workspace. */
export const startReport = Effect.gen(function* () {
  const lastStart = yield* LastStart;
  const layerScope = yield* Effect.scope;

  return Effect.fnUntraced(function* (preparation: Preparation) {
    const { place, venv, origin, milliseconds, volumeFault } = preparation;
    if (origin === "reused") yield* Metric.update(venvsReused, 1);
    if (origin === "rebuilt") yield* Metric.update(venvsRebuilt, 1);
    const name = basename(venv.prefix);
    const seconds = milliseconds / 1000;
    const message = `Workspace ${place.directory}: virtual environment ${name} ${origin} in ${seconds.toFixed(2)} s (${yield* metricsSummary})`;
    yield* origin === "reused" ? Effect.logDebug(message) : Effect.logInfo(message);
    const record = lastStart.write(place, {
      workspace: place.directory,
      shared: place.shared,
      environment: name,
      python: venv.version,
      origin,
      seconds,
      trouble: volumeFault,
    });
    // In the background, so that jobs don't wait for a slow network volume.
    yield* Effect.forkIn(record, layerScope);
  });
});
