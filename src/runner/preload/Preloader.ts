import { Effect, Option } from "effect";

import { Environment } from "../../settings/Environment.ts";
import type { PreparedWorkspace, WorkspaceError } from "../../workspace/PreparedWorkspace.ts";
import { PreloadFailed, type RunnerUnavailable } from "../RunnerError.ts";
import { headlineOf, interpretEnd } from "../call/CallEnd.ts";
import {
  failCall,
  recordCompletion,
  replaceIfUnfit,
  type RunnerContext,
  sendCall,
} from "../call/CallSteps.ts";
import { openLog, openLoggedOutput } from "../output/LoggedOutput.ts";
import type { LiveProcess } from "../state/RunnerState.ts";
import { Preload, type PreloadCall } from "./Preload.ts";

/** Errors of a value that was computed: nobody needs the value of this call. */
const IGNORED_ERRORS: ReadonlySet<string> = new Set(["result", "size"]);

/** Runs the call in a process. Its output is logged. */
const runIn = Effect.fnUntraced(function* (
  context: RunnerContext,
  process: LiveProcess,
  { name, call }: PreloadCall,
  workspace: PreparedWorkspace,
) {
  const output = yield* openLoggedOutput(yield* openLog("preload"));
  const whole = { ...call, workspace };
  const end = interpretEnd(call.meta, yield* sendCall(process, whole, output, context.limits));
  const failed = (reason: string, traceback: string) =>
    new PreloadFailed({ preload: name, reason, traceback, output: output.text() });
  if (end._tag !== "Completed") {
    // No other process is started: the next job tries it again.
    const error = yield* Effect.flip(
      failCall({ ...context, respawn: Effect.void }, process, end, ""),
    );
    return yield* failed(error.message, "");
  }
  const notes = recordCompletion(context, process, whole, end);
  notes.push(...(yield* replaceIfUnfit({ ...context, respawn: Effect.void }, process, end)));
  for (const note of notes) yield* Effect.logInfo(`WORKER_PRELOAD: ${context.mask(note)}`);
  const { error } = end.result;
  if (error !== null && !IGNORED_ERRORS.has(error.kind)) {
    return yield* failed(headlineOf(error), error.traceback);
  }
  yield* Effect.logInfo(`WORKER_PRELOAD (${name}) has run`);
}, Effect.scoped);

/**
 * Makes a function that returns a process in which WORKER_PRELOAD has run. `startIn` returns a process for a workspace.
 * It must not be used concurrently.
 */
export const makePreloader = Effect.fnUntraced(function* (
  context: RunnerContext,
  startIn: (
    workspace: PreparedWorkspace,
  ) => Effect.Effect<LiveProcess, RunnerUnavailable | WorkspaceError>,
) {
  const { configured } = yield* Preload;
  const environment = yield* Environment;
  let failures = 0;
  let last: PreloadFailed | undefined;

  const remember = (error: PreloadFailed) =>
    Effect.sync(() => {
      failures += 1;
      last = error;
    });

  const attempt = Effect.fnUntraced(function* (
    preload: PreloadCall,
    given: PreparedWorkspace,
  ): Effect.fn.Return<LiveProcess, PreloadFailed | RunnerUnavailable | WorkspaceError> {
    const { name, install } = preload;
    const workspace = yield* Effect.mapError(
      install(given),
      ({ message }) =>
        new PreloadFailed({ preload: name, reason: message, traceback: "", output: "" }),
    );
    const process = yield* startIn(workspace);
    if (process.isPreloaded) return process;
    yield* runIn(context, process, preload, workspace).pipe(
      Effect.provideService(Environment, environment),
    );
    process.isPreloaded = true;
    return process;
  });

  const runFirst = Effect.fnUntraced(function* (
    preload: PreloadCall,
    workspace: PreparedWorkspace,
    failuresBefore: number,
  ) {
    // A job that waited for a failed attempt fails with its error; the next one tries again.
    if (last !== undefined && failures > failuresBefore) return yield* last;
    return yield* Effect.tapErrorTag(attempt(preload, workspace), "PreloadFailed", remember);
  });

  return {
    /** `failuresBefore` is how many attempts had failed when the job arrived that needs the process. */
    ensure: (workspace: PreparedWorkspace, failuresBefore = failures) => {
      if (Option.isNone(configured)) return startIn(workspace);
      const process = context.state.process();
      return process !== undefined &&
        process.isPreloaded &&
        !process.hasEnded &&
        process.prefix === workspace.prefix
        ? Effect.succeed(process)
        : runFirst(configured.value, workspace, failuresBefore);
    },
    failures: () => failures,
    isConfigured: Option.isSome(configured),
  };
});
