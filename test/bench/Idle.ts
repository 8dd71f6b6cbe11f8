import { Effect } from "effect";

import { Workspace } from "../../src/workspace/Workspace.ts";
import { fakeRunPod } from "../support/fakes/FakeRunPod.ts";
import { BUNDLE, bundled } from "./Bundle.ts";
import { median } from "./Pairs.ts";
import { batch, started } from "./Queue.ts";
import { residentMegabytes } from "./Rows.ts";

/** After this time, what a start or a batch of jobs left to do is done. */
const QUIET_AFTER = "2 seconds";

const LIMIT = 90;

/** The memory of a worker of the queue that waits for a job: after its start, and after 100 jobs. */
export const idleMemory = Effect.gen(function* () {
  yield* bundled;
  const { basePython } = yield* (yield* Workspace).ready;
  const worker = Effect.gen(function* () {
    const service = yield* fakeRunPod();
    const variables = { ...service.variables, WORKER_PYTHON: basePython };
    const { pid = 0 } = yield* started([...BUNDLE.slice(1), "start"], variables);
    yield* service.seen("take", 1);
    yield* Effect.sleep(QUIET_AFTER);
    const before = residentMegabytes(pid);
    yield* batch(service);
    yield* Effect.sleep(QUIET_AFTER);
    return { before, after: residentMegabytes(pid) };
  }).pipe(Effect.scoped);
  const runs = yield* Effect.replicateEffect(worker, 5);
  const before = median(runs.map((run) => run.before));
  const after = median(runs.map((run) => run.after));
  return {
    what: `memory of an idle worker, before and after 100 jobs (${runs.length} workers)`,
    ours: `${before.toFixed(1)} MB, ${after.toFixed(1)} MB`,
    baseline: "none",
    bar: `at most ${LIMIT} MB`,
    met: Math.max(before, after) <= LIMIT,
  };
});
