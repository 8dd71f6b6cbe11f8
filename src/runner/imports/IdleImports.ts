import { Deferred, Duration, Effect, Option, Queue } from "effect";

import { CONCURRENCY } from "../../settings/Concurrency.ts";
import { Environment } from "../../settings/Environment.ts";
import * as Setting from "../../settings/Setting.ts";
import { wallMillis } from "../../settings/SteadyClock.ts";
import {
  importable,
  type Profile,
  withFolders,
  withModule,
  withUsed,
} from "../../workspace/profile/Profile.ts";
import { ReadAhead } from "../../workspace/profile/ReadAhead.ts";
import { StartProfile } from "../../workspace/profile/StartProfile.ts";
import type { ImportEvent } from "../RunnerProtocol.ts";
import type { LiveProcess } from "../state/RunnerState.ts";
import type { ImportsEnd } from "./ImportWatch.ts";

const IDLE_IMPORTS = Setting.optionalSeconds({
  name: "WORKER_IDLE_IMPORTS",
  doc: "Maximum time in which a new Python process imports the installed modules that earlier jobs of the endpoint imported, while it waits for its first job. A job that arrives waits at most for the module that is being imported.",
  fallback: Duration.seconds(60),
});

/** How long the import of the last module may exceed the limit, before its process is killed. */
const OVERTIME = Duration.seconds(30);

/** The part of the free memory that the imports of all processes may use. */
const MEMORY_SHARE = 0.5;

/** After so many processes that ended during such imports, this worker does not try it again. */
const MAX_CRASHES = 3;

/** What a process reported. */
interface Report {
  readonly process: LiveProcess;
  readonly event: ImportEvent;
}

/** How a process ended that was importing modules. */
const describeExit = ({ session }: LiveProcess): string => {
  const { code, signal } = session.exit() ?? {};
  return signal === undefined
    ? `it ended the process with exit code ${code ?? "unknown"}`
    : `it ended the process with ${signal}`;
};

type Ended = ImportEvent & { readonly event: "ended" };

/** How an event changes the profile. */
const applying =
  (event: ImportEvent, now: number) =>
  (before: Profile): Profile => {
    if (event.event === "used") {
      return withFolders(withUsed(before, event.modules, now), event.folders);
    }
    if (event.event !== "ended") return before;
    const { module, seconds, error } = event;
    const cost = { seconds, bytes: Math.max(0, event.bytes) };
    return withModule(before, module, error === "" ? cost : { ...cost, failure: error });
  };

const logEnd = Effect.fnUntraced(function* ({ module, seconds, error, output }: Ended) {
  const result = error === "" ? `took ${seconds} seconds` : `failed: ${error}`;
  yield* Effect.logDebug(`Importing ${module} before the first job ${result}`);
  if (output !== "") yield* Effect.logDebug(`Output of importing ${module}: ${output}`);
});

/** Records reports in the profile of the workspace, and logs them. */
const makeRecorder = Effect.gen(function* () {
  const profile = yield* StartProfile;
  const readAhead = yield* ReadAhead;
  const { mask } = yield* Environment;
  const reports = yield* Queue.unbounded<Report>();

  const masked = (event: ImportEvent): ImportEvent =>
    event.event === "ended"
      ? { ...event, error: mask(event.error), output: mask(event.output) }
      : event;

  const record = Effect.fnUntraced(function* (report: Report) {
    const event = masked(report.event);
    if (event.event === "started" || event.event === "done") return;
    const { workspace, session } = report.process;
    yield* profile.update(workspace.directory, applying(event, yield* wallMillis));
    if (event.event === "ended") return yield* logEnd(event);
    yield* readAhead.record(workspace, session.process.pid);
  });
  yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.take(reports), record)));

  return {
    watch: (process: LiveProcess) =>
      process.session.imports.listen((event) => {
        Queue.offerUnsafe(reports, { process, event });
      }),
    failed: (process: LiveProcess, module: string, failure: string) =>
      profile.update(process.workspace.directory, (before) =>
        withModule(before, module, { failure }),
      ),
  };
});

/** How the imports of a process end, and why it ended meanwhile. Kills the process if they take too long. */
const endOf = Effect.fnUntraced(function* (
  process: LiveProcess,
  running: Deferred.Deferred<ImportsEnd>,
  limit: Duration.Duration,
) {
  const { imports, process: child } = process.session;
  const inTime = yield* Effect.timeoutOption(Deferred.await(running), limit);
  // Otherwise they have just ended, and a call may have begun.
  const isTooLong = Option.isNone(inTime) && imports.isRunning;
  if (isTooLong) child.kill();
  const end = yield* Deferred.await(running);
  return {
    end,
    reason: isTooLong ? `it did not end within ${Duration.format(limit)}` : describeExit(process),
  };
});

/** Makes idle processes import what the jobs of this endpoint import, and records what that is. */
export const makeIdleImports = Effect.gen(function* () {
  const profile = yield* StartProfile;
  const limit = yield* IDLE_IMPORTS.value;
  const processes = yield* CONCURRENCY.value;
  const recorder = yield* makeRecorder;
  let crashes = 0;

  /** The request for a process; none if there is nothing to import. */
  const requestFor = Effect.fnUntraced(function* ({ workspace }: LiveProcess) {
    if (Option.isNone(limit) || crashes >= MAX_CRASHES) return Option.none();
    const modules = importable(yield* profile.read(workspace.directory), yield* wallMillis);
    if (modules.length === 0) return Option.none();
    return Option.some({
      modules: modules.map(({ name, bytes }) => ({ name, bytes })),
      seconds: Duration.toSeconds(limit.value),
      memory: Math.floor((process.availableMemory() * MEMORY_SHARE) / processes),
    });
  });

  return {
    /** Must be called for each new process. */
    watch: recorder.watch,

    /**
     * Imports modules in a process that has not run a call yet, until the next call. `ifIdle` runs an effect only if no
     * call uses the process. Returns whether the process ended meanwhile, so that another one must be started.
     */
    run: Effect.fn("IdleImports.run")(function* (
      target: LiveProcess,
      ifIdle: <A>(effect: Effect.Effect<A>) => Effect.Effect<Option.Option<A>>,
    ) {
      const request = yield* requestFor(target);
      if (Option.isNone(request)) return false;
      const begun = yield* ifIdle(Effect.sync(() => target.beginImports(request.value)));
      const running = Option.flatMap(begun, Option.fromUndefinedOr);
      if (Option.isNone(running)) return false;
      const allowed = Duration.sum(Duration.seconds(request.value.seconds), OVERTIME);
      const { end, reason } = yield* endOf(target, running.value, allowed);
      if (end._tag === "Done") return false;
      crashes += 1;
      yield* Effect.logWarning(
        `A Python process ended while it imported ${end.module ?? "modules"} before its first job (${reason}); starting another one`,
      );
      if (end.module !== undefined) yield* recorder.failed(target, end.module, reason);
      return true;
    }),
  };
});
