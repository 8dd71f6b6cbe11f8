import { Effect, FileSystem, Layer, Option, Schema } from "effect";

import { EncodedValue } from "../../../src/domain/EncodedValue.ts";
import type { SerializationFormat } from "../../../src/domain/FunctionRequest.ts";
import type { VolumeProcess } from "../../../src/platform/volume/VolumeProcess.ts";
import {
  type RunnerCommand,
  type RunnerExit,
  type RunnerListener,
  type RunnerProcess,
  RunnerProcesses,
  type RunnerSetup,
  RunnerSpawnFailed,
} from "../../../src/runner/RunnerProcess.ts";
import { FrameType, type ImportEvent, Imports } from "../../../src/runner/RunnerProtocol.ts";
import { Preload, type PreloadCall } from "../../../src/runner/preload/Preload.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import type { PreparedWorkspace } from "../../../src/workspace/PreparedWorkspace.ts";
import { Workspace } from "../../../src/workspace/Workspace.ts";
import { EMPTY_PROFILE, type Profile } from "../../../src/workspace/profile/Profile.ts";
import { ReadAhead } from "../../../src/workspace/profile/ReadAhead.ts";
import { StartProfile } from "../../../src/workspace/profile/StartProfile.ts";
import { answeringVolumeProcess } from "../machine/AnsweringVolumeProcess.ts";

/** How a fake runner reacts when it is spawned, configured (`start`), called (with the number of the call), and so on. */
export interface Behaviour {
  readonly spawn?: (runner: FakeProcess) => void;
  readonly start?: (runner: FakeProcess) => void;
  /** The modules to import while it is idle. */
  readonly imports?: (runner: FakeProcess, modules: ReadonlyArray<string>) => void;
  readonly call?: (runner: FakeProcess, call: number, meta: object) => void;
  readonly interrupt?: (runner: FakeProcess, call: number) => void;
  readonly cancel?: (runner: FakeProcess, call: number) => void;
  readonly kill?: (runner: FakeProcess) => void;
  readonly end?: (runner: FakeProcess) => void;
  readonly spawnError?: string;
}

/** What a behaviour can do in the fake process. */
export interface FakeProcess {
  readonly command: RunnerCommand;
  readonly ready: (changes?: Readonly<Record<string, unknown>>) => void;
  readonly respond: (
    call: number,
    changes?: Readonly<Record<string, unknown>>,
    value?: string,
  ) => void;
  readonly respondWithoutValue: (call: number, changes: Readonly<Record<string, unknown>>) => void;
  /** The current maximum size of the value in a frame of a call, in bytes. */
  readonly limitOf: (type: number, call: number) => number | undefined;
  readonly print: (text: string) => void;
  /** Sends output of a call that overlaps with others. */
  readonly printIn: (call: number, text: string) => void;
  /** Sends an item of a generator. */
  readonly yieldIn: (call: number, text: string) => void;
  /** Sends an event of an import. */
  readonly report: (event: ImportEvent) => void;
  readonly end: (exit: Partial<RunnerExit>) => void;
}

export const prepared: PreparedWorkspace = {
  directory: "/workspace",
  python: "/workspace/.venv/bin/python",
  prefix: "/workspace/.venvs/3.12.1-abc-1",
  version: "3.12.1",
  basePython: "/usr/bin/python3.12",
  environment: { PATH: "/usr/bin" },
  venv: {
    prefix: "/workspace/.venvs/3.12.1-abc-1",
    python: "/workspace/.venv/bin/python",
    version: "3.12.1",
    generation: 0,
    number: 1,
    base: { executable: "/usr/bin/python3.12", identity: "python" },
  },
  generation: 1,
};

export const result = {
  ok: true,
  error: null,
  instance: null,
  instances: 1000,
  lives: true,
  notes: [],
  poisoned: null,
  threads: [],
  output: false,
};

/** A value as the runner sends it. */
const encoded = (text: string, format: SerializationFormat = "cloudpickle"): EncodedValue => {
  const value = new EncodedValue(format, Buffer.byteLength(text));
  value.write(Buffer.from(text));
  return value;
};

const formatIn = (meta: object): SerializationFormat =>
  "format" in meta && meta.format === "json" ? "json" : "cloudpickle";

const decodeImports = Schema.decodeUnknownSync(Imports);

const modulesIn = (meta: object) => decodeImports(meta).modules.map(({ name }) => name);

/** The decoded bytes of a value, as text. */
export const textOf = (value: EncodedValue | undefined): string =>
  Buffer.from(value?.text() ?? "", "base64").toString();

/** A runner that returns a result for every call. */
export const well: Behaviour = {
  start: (runner) => runner.ready(),
  call: (runner, call) => runner.respond(call),
  kill: (runner) => runner.end({ signal: "SIGKILL" }),
};

/** Starts fake runners, each with the next behaviour; the last behaviour is used for all further ones. */
export const fakeRunners = (...behaviours: ReadonlyArray<Behaviour>) => {
  const started: Array<RunnerCommand & Partial<RunnerSetup>> = [];
  const layer = Layer.succeed(
    RunnerProcesses,
    RunnerProcesses.of({
      spawn: (command: RunnerCommand, listener: RunnerListener) => {
        const behaviour = behaviours[Math.min(started.length, behaviours.length - 1)] ?? well;
        const index = started.push(command) - 1;
        if (behaviour.spawnError !== undefined) {
          return Effect.fail(
            new RunnerSpawnFailed({
              command: command.python,
              code: behaviour.spawnError,
              reason: `spawn ${behaviour.spawnError}`,
            }),
          );
        }
        let ended = false;
        const calls: Array<number> = [];
        const formats: Array<SerializationFormat> = [];
        let printed = "";
        const fake: FakeProcess = {
          command,
          ready: (changes = {}) =>
            listener.frame({
              type: FrameType.ready,
              call: 0,
              value: undefined,
              meta: {
                pid: 1,
                python: prepared.version,
                prefix: prepared.prefix,
                executable: command.python,
                cloudpickle: "3.1.2",
                ...changes,
              },
            }),
          respond: (number, changes = {}, value = "pickle") =>
            listener.frame({
              type: FrameType.result,
              call: calls[number - 1] ?? 0,
              meta: { ...result, ...changes },
              value: changes["ok"] === false ? undefined : encoded(value, formats[number - 1]),
            }),
          respondWithoutValue: (number, changes) =>
            listener.frame({
              type: FrameType.result,
              call: calls[number - 1] ?? 0,
              meta: { ...result, ...changes },
              value: undefined,
            }),
          limitOf: (type, number) => listener.limitOf(type, calls[number - 1] ?? 0),
          print: (text) => {
            printed += text;
            listener.output(Buffer.from(text));
          },
          printIn: (number, text) =>
            listener.frame({
              type: FrameType.output,
              call: calls[number - 1] ?? 0,
              meta: { text, value: null },
              value: undefined,
            }),
          yieldIn: (number, text) =>
            listener.frame({
              type: FrameType.chunk,
              call: calls[number - 1] ?? 0,
              meta: { value: "json" },
              value: encoded(text, "json"),
            }),
          report: (event) =>
            listener.frame({
              type: FrameType.imported,
              call: 0,
              meta: { ...event, value: null },
              value: undefined,
            }),
          end: ({ code, signal }) => {
            if (ended) return;
            ended = true;
            listener.exit({ code, signal });
          },
        };
        return Effect.acquireRelease(
          Effect.sync((): RunnerProcess => {
            behaviour.spawn?.(fake);
            return {
              pid: started.length,
              configure: (setup) => {
                started[index] = { ...command, ...setup };
                queueMicrotask(() => behaviour.start?.(fake));
              },
              send: (type: number, call: number, meta: object) => {
                if (type === FrameType.imports) behaviour.imports?.(fake, modulesIn(meta));
                if (type === FrameType.cancel) behaviour.cancel?.(fake, calls.indexOf(call) + 1);
                if (type !== FrameType.call) return;
                calls.push(call);
                formats.push(formatIn(meta));
                behaviour.call?.(fake, calls.length, meta);
              },
              attach: () => true,
              drain: () => {},
              interrupt: () => behaviour.interrupt?.(fake, calls.length),
              kill: () => (behaviour.kill ?? well.kill)?.(fake),
              end: Effect.void,
              bootOutput: () => printed,
            };
          }),
          () =>
            Effect.sync(() => {
              behaviour.end?.(fake);
              fake.end({ code: 0 });
            }),
        );
      },
    }),
  );
  return { started, layer };
};

/** A workspace that is ready, and records the reasons for its rebuilds. */
export const fakeWorkspace = () => {
  const rebuilds: Array<string> = [];
  const layer = Layer.succeed(
    Workspace,
    Workspace.of({
      ready: Effect.sync(() => (rebuilds.length === 0 ? prepared : rebuilt)),
      rebuild: (reason) =>
        Effect.sync(() => {
          rebuilds.push(reason);
          return rebuilt;
        }),
      listVenvs: Effect.succeed([prepared.venv]),
      activate: () => Effect.succeedNone,
      extend: () => Effect.succeed(prepared),
      fallBackToOwnDisk: () => Effect.succeed(prepared),
      packagesAdded: Effect.succeed,
      leaveCopy: Effect.void,
      usage: Effect.succeed(""),
    }),
  );
  const rebuilt = { ...prepared, python: "/rebuilt/bin/python" };
  return { rebuilds, layer };
};

/** A profile that is only in memory. */
export const memoryProfile = (initial: Profile = EMPTY_PROFILE) => {
  let profile = initial;
  const layer = Layer.succeed(
    StartProfile,
    StartProfile.of({
      read: () => Effect.sync(() => profile),
      update: (_, change) =>
        Effect.sync(() => {
          profile = change(profile);
        }),
    }),
  );
  const recorded: Array<number> = [];
  const readAhead = Layer.succeed(
    ReadAhead,
    ReadAhead.of({ read: Effect.void, record: (_, pid) => Effect.sync(() => recorded.push(pid)) }),
  );
  return {
    layer: Layer.merge(layer, readAhead),
    current: () => profile,
    /** The ids of the processes whose mapped files were recorded. */
    recorded: (): ReadonlyArray<number> => recorded,
  };
};

/** Other services that execution needs: environment variables and temporary folders. */
const runtimeServices = (variables: Readonly<Record<string, string>> = {}) =>
  Layer.merge(
    Environment.layerOf(variables),
    FileSystem.layerNoop({ makeTempDirectoryScoped: () => Effect.succeed("/scratch") }),
  );

type RuntimeServices = ReturnType<typeof runtimeServices>;

const respondingVolume = answeringVolumeProcess(() => Effect.succeed({})).layer;

interface FakeServices {
  readonly profile?: ReturnType<typeof memoryProfile>;
  /** What WORKER_PRELOAD runs. */
  readonly preload?: PreloadCall;
  /** The network volume; by default, the workspace is not on it. */
  readonly volume?: Layer.Layer<VolumeProcess>;
}

/** Provides a layer with fake Python processes, which behave as given in the order of their start, and a workspace. */
export const withFakeRunners = <A, E>(
  layer: Layer.Layer<
    A,
    E,
    | RunnerProcesses
    | Workspace
    | StartProfile
    | ReadAhead
    | Preload
    | VolumeProcess
    | Layer.Success<RuntimeServices>
  >,
  behaviours: ReadonlyArray<Behaviour>,
  variables: Readonly<Record<string, string>> = {},
  { profile = memoryProfile(), preload, volume = respondingVolume }: FakeServices = {},
) => {
  const runners = fakeRunners(...behaviours);
  const workspace = fakeWorkspace();
  const provided = layer.pipe(
    Layer.provide([
      runners.layer,
      workspace.layer,
      profile.layer,
      volume,
      Layer.succeed(Preload, Preload.of({ configured: Option.fromUndefinedOr(preload) })),
    ]),
    Layer.provide(runtimeServices(variables)),
  );
  return {
    started: runners.started,
    rebuilds: workspace.rebuilds,
    provide: Effect.provide(provided),
  };
};
