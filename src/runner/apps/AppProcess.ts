import { Effect, Option, Schema } from "effect";

import type { AppResource } from "../../domain/DeployedApp.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import { RunnerUnavailable } from "../RunnerError.ts";
import { RunnerLauncher } from "../RunnerLauncher.ts";
import type { AppCallMeta, CallError } from "../RunnerProtocol.ts";
import type { RunnerSession } from "../RunnerSession.ts";
import { failureOf, interpretEnd } from "../call/CallEnd.ts";
import { exchange, type TimeLimits } from "../call/CallExchange.ts";
import { type OutputLog, openLog, openLoggedOutput } from "../output/LoggedOutput.ts";
import { AppOpenFailed } from "./AppOpenFailed.ts";

/** The maximum size of what the process says about itself. */
const INFO_BYTES = 1024 * 1024;

/** A deployed app, and where it runs. */
export interface AppSpec {
  readonly resource: AppResource;
  /** The current directory of its code. */
  readonly folder: string;
  /** The first entries of `sys.path`. */
  readonly path: ReadonlyArray<string>;
  readonly workspace: PreparedWorkspace;
  /** The maximum number of jobs that run at the same time. */
  readonly concurrency: number;
}

/** What a process says after it opened an app. */
export const AppOpened = Schema.Struct({
  /** Whether its functions are asynchronous, so that jobs overlap in one process. */
  overlaps: Schema.Boolean,
  /** Whether only one process may have it, because it is an instance of a class. */
  isSingleton: Schema.Boolean,
  /** System packages that decorated objects name. */
  systemDependencies: Schema.Array(Schema.String),
});
export type AppOpened = typeof AppOpened.Type;

const decodeOpened = Schema.decodeUnknownOption(Schema.fromJsonString(AppOpened));

/** A process that opened an app. */
export interface AppProcess {
  readonly session: RunnerSession;
  readonly log: OutputLog;
  readonly opened: AppOpened;
  /** Whether its jobs run at the same time. */
  readonly overlaps: boolean;
  /** Whether it must not get another job: a cancelled one still runs, or CUDA failed. */
  isUnfit: boolean;
}

const openFailed = ({
  phase = "import",
  type,
  message,
  traceback,
  missing,
  systemDependencies = [],
}: CallError) =>
  new AppOpenFailed({
    phase,
    type,
    message,
    traceback,
    missingModule: missing ?? undefined,
    systemDependencies,
  });

interface LongCall {
  readonly meta: AppCallMeta;
  readonly limits: TimeLimits;
  readonly chunk?: () => void;
}

/** Runs a call that opens an app or serves HTTP: its output is logged. It fails if the app can't start, or if the process ends. */
const longCall = Effect.fnUntraced(function* (
  session: RunnerSession,
  log: OutputLog,
  { meta, limits, chunk = () => {} }: LongCall,
) {
  const output = yield* openLoggedOutput(log);
  const begin = () =>
    session.begin({ ...meta, refresh: false }, [], {
      output: output.write,
      limits: { result: meta.limit, chunk: meta.chunkLimit },
      chunk,
    });
  const finished = yield* Effect.ensuring(
    exchange(session, begin, limits),
    Effect.sync(output.end),
  );
  const end = interpretEnd(meta, finished);
  const text = output.text();
  if (end._tag !== "Completed") {
    return yield* failureOf(end, { output: text, timeout: limits.timeout, instances: 0 });
  }
  const { error } = end.result;
  if (error?.kind === "start") return yield* openFailed(error);
  return { error, value: end.value, output: text };
});

/** Neither opening nor serving has a timeout: models take minutes to load. */
const unlimited = ({ cancelGrace }: TimeLimits): TimeLimits => ({
  timeout: Option.none(),
  cancelGrace,
});

/** Starts a process for an app, which lives as long as the scope, and opens the app. */
export const openProcess = Effect.fn("AppProcess.open")(function* (
  { resource, folder, path, workspace, concurrency }: AppSpec,
  limits: TimeLimits,
) {
  const log = yield* openLog("app");
  const launcher = yield* RunnerLauncher;
  const session = yield* launcher.launch(workspace, { folder, config: { resource, path } });
  session.redirectIdleOutput(log.write);
  const { error, value, output } = yield* longCall(session, log, {
    meta: { kind: "open", format: "json", limit: INFO_BYTES },
    limits: unlimited(limits),
  });
  if (error !== null) return yield* openFailed(error);
  const opened = decodeOpened(value?.text());
  if (Option.isNone(opened)) {
    return yield* new RunnerUnavailable({ reason: "sent an invalid response", output });
  }
  const process: AppProcess = {
    session,
    log,
    opened: opened.value,
    // Calls that run alone are cancelled and captured more exactly.
    overlaps: opened.value.overlaps && concurrency > 1,
    isUnfit: false,
  };
  return process;
});

/** Where and what to serve. */
export interface Serving {
  /** The path of the Unix socket. */
  readonly socket: string;
  /** The source of a live resource, and its name; absent for a deployed app. */
  readonly source?: { readonly code: string; readonly resource: string };
  /** Runs when the socket accepts connections. */
  readonly ready: Effect.Effect<void>;
}

/** Serves HTTP until it is interrupted or the process ends. */
export const serveIn = Effect.fn("AppProcess.serve")(function* (
  session: RunnerSession,
  log: OutputLog,
  { socket, source, ready }: Serving,
  limits: TimeLimits,
) {
  const run = Effect.runForkWith(yield* Effect.context<never>());
  const { error, output } = yield* longCall(session, log, {
    meta: {
      kind: "serve",
      format: "json",
      limit: INFO_BYTES,
      chunkLimit: INFO_BYTES,
      socket,
      ...source,
    },
    limits: { ...unlimited(limits), isGraceful: true },
    chunk: () => {
      run(ready);
    },
  });
  return yield* new RunnerUnavailable({
    reason: `stopped serving HTTP requests${error === null ? "" : `: ${error.type}: ${error.message}`}`,
    output,
    hasStarted: true,
  });
});
