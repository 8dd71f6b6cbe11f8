import { type Array as Arr, Context, Effect, Layer, Option, ScopedRef, Semaphore } from "effect";

import { BackgroundWork } from "../../platform/BackgroundWork.ts";
import { Environment } from "../../settings/Environment.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import { OUTPUT_LIMIT } from "../Runner.ts";
import { RunnerUnavailable } from "../RunnerError.ts";
import { RunnerLauncher } from "../RunnerLauncher.ts";
import type { CallFailed } from "../call/Call.ts";
import { timeLimits } from "../call/CallExchange.ts";
import { openLog } from "../output/LoggedOutput.ts";
import { setInterruptibly } from "../state/Replacement.ts";
import type { AppJob, AppJobOutcome, JobContext } from "./AppJobs.ts";
import { makeAppLane } from "./AppLane.ts";
import type { AppOpenFailed } from "./AppOpenFailed.ts";
import { type AppOpened, type AppSpec, serveIn, type Serving } from "./AppProcess.ts";

type AppLane = Effect.Success<ReturnType<typeof makeAppLane>>;

/** A live resource of SDK 2.0 that serves HTTP. */
export interface LiveServing extends Serving {
  readonly source: NonNullable<Serving["source"]>;
  readonly workspace: PreparedWorkspace;
}

/** Distributes jobs to processes: to one that is already open, if one is idle. */
const makeDistribution = (lanes: Arr.NonEmptyReadonlyArray<AppLane>) => {
  const idle = new Set(lanes);
  const permits = Semaphore.makeUnsafe(lanes.length);
  const take = Effect.sync(() => {
    const candidates = [...idle];
    const lane = candidates.find(({ isOpen }) => isOpen()) ?? candidates[0] ?? lanes[0];
    idle.delete(lane);
    return lane;
  });
  return (job: AppJob) =>
    permits.withPermit(
      Effect.acquireUseRelease(
        take,
        (lane) => lane.job(job),
        (lane) => Effect.sync(() => idle.add(lane)),
      ),
    );
};

/** Opens an app. One process runs all of its jobs if they overlap, or if only one process may have it. */
const openApp = Effect.fnUntraced(function* (spec: AppSpec, context: JobContext) {
  const first = yield* makeAppLane(spec, context);
  const opened = yield* first.open;
  const isShared = opened.overlaps || opened.isSingleton;
  const others = yield* Effect.all(
    Array.from({ length: isShared ? 0 : spec.concurrency - 1 }, () => makeAppLane(spec, context)),
  );
  const job = isShared ? first.job : makeDistribution([first, ...others]);
  return { opened, job, serve: first.serve };
});

/**
 * The Python processes of a deployed app. Each imports its modules and constructs its objects once, and then runs jobs or
 * serves HTTP. A process that crashed, or whose cancelled job does not stop, is replaced.
 */
export class AppRunner extends Context.Service<
  AppRunner,
  {
    /** Starts an interpreter for `open` in this workspace and folder, before the app is known. Never fails. */
    readonly prestart: RunnerLauncher["Service"]["prestart"];
    /** Starts a process that opens the app. Replaces all processes, after an installation or for a new artifact. */
    readonly open: (spec: AppSpec) => Effect.Effect<AppOpened, AppOpenFailed | CallFailed>;
    readonly job: (job: AppJob) => Effect.Effect<AppJobOutcome, AppOpenFailed | CallFailed>;
    /** Serves HTTP in the process of the app until it is interrupted. Fails when the process ends. */
    readonly serve: (serving: Serving) => Effect.Effect<never, AppOpenFailed | CallFailed>;
    /** Serves HTTP in a separate process. */
    readonly serveLive: (serving: LiveServing) => Effect.Effect<never, AppOpenFailed | CallFailed>;
  }
>()("worker-tetra/runner/apps/AppRunner") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const launcher = yield* RunnerLauncher;
      const { busy } = yield* BackgroundWork;
      const environment = yield* Environment;
      const services = Context.make(RunnerLauncher, launcher).pipe(
        Context.add(Environment, environment),
      );
      const context: JobContext = {
        limits: yield* timeLimits,
        outputLimit: yield* OUTPUT_LIMIT.value,
      };
      const current = yield* ScopedRef.make(() =>
        Option.none<Effect.Success<ReturnType<typeof openApp>>>(),
      );
      const opening = Semaphore.makeUnsafe(1);

      const open = Effect.fn("AppRunner.open")(function* (spec: AppSpec) {
        yield* ScopedRef.set(current, Effect.succeedNone);
        yield* setInterruptibly(current, Effect.asSome(openApp(spec, context)));
        return (yield* openedApp).opened;
      });

      const openedApp = Effect.suspend(() =>
        Effect.fromOption(ScopedRef.getUnsafe(current)).pipe(
          Effect.mapError(
            () => new RunnerUnavailable({ reason: "has not opened an app yet", output: "" }),
          ),
        ),
      );

      const serveLive = Effect.fn("AppRunner.serveLive")(function* (serving: LiveServing) {
        const log = yield* openLog("app");
        const session = yield* launcher.launch(serving.workspace);
        session.redirectIdleOutput(log.write);
        return yield* serveIn(session, log, serving, context.limits);
      });

      return AppRunner.of({
        prestart: launcher.prestart,
        open: (spec) => busy(opening.withPermit(Effect.provideContext(open(spec), services))),
        job: (job) =>
          Effect.provideContext(busy(Effect.flatMap(openedApp, (app) => app.job(job))), services),
        serve: (serving) =>
          Effect.provideContext(
            Effect.flatMap(openedApp, (app) => app.serve(serving)),
            services,
          ),
        serveLive: (serving) => Effect.provideContext(Effect.scoped(serveLive(serving)), services),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([RunnerLauncher.layer, BackgroundWork.layer]),
  );
}
