import { Predicate, Schema } from "effect";

import { AppResource } from "../domain/DeployedApp.ts";
import { InstanceInfo } from "../domain/FunctionResponse.ts";

/**
 * The frames between this process and the Python runner, on a unix socket.
 *
 * A frame is a little-endian header of 12 bytes (length of the body u32, type u8, 3 bytes of padding, number of the
 * call u32), followed by the body: length of the metadata u32, the metadata as JSON, and the concatenated blobs.
 * Arguments and results are blobs, so that pickles are sent without an encoding. Frames to the runner list the lengths
 * of their blobs in `blobs`; frames from the runner have at most one blob, the value, whose format is `value`.
 *
 * The Python side of this contract is src/python/tetra_runner/messages.py. The tests of both sides read the golden
 * messages in test/runner/golden.
 */
export const FrameType = {
  ready: 1,
  call: 2,
  chunk: 3,
  result: 4,
  bye: 5,
  cancel: 6,
  output: 7,
  config: 8,
  imports: 9,
  imported: 10,
} as const;

/** A deployed app. */
export const AppConfig = Schema.Struct({
  resource: AppResource,
  /** The first entries of `sys.path`, in this order. */
  path: Schema.Array(Schema.String),
});
export type AppConfig = typeof AppConfig.Type;

/** The metadata of a `config` frame, the first one, which the runner waits for. */
export const RunnerConfig = Schema.Struct({
  /** A private folder for pipes and sources. */
  dir: Schema.String,
  /** The current directory of user code. */
  cwd: Schema.String,
  /** The process id of the worker. */
  parent: Schema.Int,
  maxInstances: Schema.Int,
  /** The idle timeout of instances, in seconds; 0 for none. */
  instanceIdle: Schema.Finite,
  /** Absent for live requests. */
  app: Schema.optionalKey(AppConfig),
});
export type RunnerConfig = typeof RunnerConfig.Type;

/** How a value is encoded. */
export const Format = Schema.Literals(["cloudpickle", "json"]);

/** The metadata of every frame from the runner: the format of the value, or null without a value. */
const ValueMeta = Schema.Struct({ value: Schema.NullOr(Format) });

/** What the runner reports about itself when it is ready for calls. */
export const Ready = Schema.Struct({
  pid: Schema.Int,
  /** The version of Python, such as `3.12.1`. */
  python: Schema.String,
  /** `sys.prefix`: its venv. */
  prefix: Schema.String,
  executable: Schema.String,
  cloudpickle: Schema.String,
});
export type Ready = typeof Ready.Type;

/** The complete metadata of a `ready` frame. */
export const ReadyMeta = Schema.Struct({ ...Ready.fields, ...ValueMeta.fields });

/** The complete metadata of a `chunk` frame: an item of a generator, without a value if it exceeds its limit. */
export const ChunkMeta = ValueMeta;

/** The complete metadata of an `output` frame: Python output of a call that overlaps with others. */
export const OutputMeta = Schema.Struct({ text: Schema.String, ...ValueMeta.fields });

/** What opening an app does: it imports the modules, and then creates the objects that jobs use. */
export const AppPhase = Schema.Literals(["import", "construct"]);

/** Why a call has no value. */
export const CallError = Schema.Struct({
  kind: Schema.Literals([
    "exception",
    "exit",
    "memory",
    "cancelled",
    "request",
    "arguments",
    "result",
    "size",
    "start",
  ]),
  type: Schema.String,
  message: Schema.String,
  traceback: Schema.String,
  /** What an app failed in, only for the kind `start`. */
  phase: Schema.optionalKey(AppPhase),
  /** The top-level name of a module that could not be found, only for the kind `start`. */
  missing: Schema.optionalKey(Schema.NullOr(Schema.String)),
  /** System packages that the app needs, only for the kind `start`. */
  systemDependencies: Schema.optionalKey(Schema.Array(Schema.String)),
});
export type CallError = typeof CallError.Type;

/** The id of an instance. The ids that clients and the runner generate are shorter. */
const InstanceId = Schema.String.pipe(Schema.check(Schema.isMaxLength(512)));

/** How a call ended. */
export const CallResult = Schema.Struct({
  ok: Schema.Boolean,
  error: Schema.NullOr(CallError),
  instance: Schema.NullOr(Schema.Struct({ id: InstanceId, ...InstanceInfo.fields })),
  /** The number of instances in the process. */
  instances: Schema.Int,
  /** Whether the instance of the call is one of them. */
  lives: Schema.Boolean,
  /** Sentences for the user. */
  notes: Schema.Array(Schema.String),
  /** Why this process can't run another call, such as a broken CUDA context. */
  poisoned: Schema.NullOr(Schema.String),
  /** The names of threads that are still running. */
  threads: Schema.Array(Schema.String),
  /** Whether the output continues in a new pipe, because leftover processes may still have the old one open. */
  output: Schema.Boolean,
  /** The error that a deployed app returned besides its value, as any JSON; null without an error. */
  failure: Schema.optionalKey(Schema.Json),
  /** Whether a deployed app asked to stop the worker after this job. */
  refresh: Schema.optionalKey(Schema.Boolean),
});
export type CallResult = typeof CallResult.Type;

/** The complete metadata of a `result` frame. */
export const ResultMeta = Schema.Struct({
  ...CallResult.fields,
  ...ValueMeta.fields,
  /** Bytes of output that are still in the pipe; -1 if unknown. */
  pending: Schema.Int,
});

/** Whether the pipe has no more output of a call, so that it need not be drained. */
export const hasNoPendingOutput = (meta: unknown): boolean =>
  Predicate.hasProperty(meta, "pending") && meta.pending === 0;

/** A call of a live request. Its blobs are the arguments, the keyword arguments, and those of the constructor, in this order. */
export const CallMeta = Schema.Struct({
  kind: Schema.Literals(["function", "class"]),
  name: Schema.String,
  /** Source text that defines `name`. */
  code: Schema.String,
  format: Format,
  args: Schema.Int,
  kwargs: Schema.Array(Schema.String),
  constructorArgs: Schema.Int,
  constructorKwargs: Schema.Array(Schema.String),
  method: Schema.String,
  instanceId: Schema.NullOr(Schema.String),
  /** Create the instance again if it exists. */
  createNewInstance: Schema.Boolean,
  /** Local modules by their relative path. */
  modules: Schema.Record(Schema.String, Schema.String),
  /** The maximum size of the encoded result, in bytes. */
  limit: Schema.Int,
  /** The maximum size of each item of a generator, in bytes; absent if items are not streamed. */
  chunkLimit: Schema.optionalKey(Schema.Int),
});
export type CallMeta = typeof CallMeta.Type;

/** A call of an app: opening it, running a job (its input is the only blob, as JSON), or serving HTTP. */
export const AppCallMeta = Schema.Struct({
  kind: Schema.Literals(["open", "job", "serve"]),
  format: Schema.Literal("json"),
  limit: Schema.Int,
  chunkLimit: Schema.optionalKey(Schema.Int),
  /** Whether a job may run at the same time as others in the process. */
  overlaps: Schema.optionalKey(Schema.Boolean),
  /** The path of the Unix socket to serve HTTP on. */
  socket: Schema.optionalKey(Schema.String),
  /** Source text that defines `resource`, if the process has no deployed app. */
  code: Schema.optionalKey(Schema.String),
  resource: Schema.optionalKey(Schema.String),
});
export type AppCallMeta = typeof AppCallMeta.Type;

const SentFields = {
  /** Whether packages were installed since the last call. */
  refresh: Schema.Boolean,
  blobs: Schema.Array(Schema.Int),
};

/** The complete metadata of a `call` frame of a live request. */
export const CallFrameMeta = Schema.Struct({ ...CallMeta.fields, ...SentFields });

/** The complete metadata of a `call` frame of an app. */
export const AppCallFrameMeta = Schema.Struct({ ...AppCallMeta.fields, ...SentFields });

/** Modules to import, in this order, until the next call arrives. */
export const Imports = Schema.Struct({
  /** `bytes` is the memory that the module is expected to need. */
  modules: Schema.Array(Schema.Struct({ name: Schema.String, bytes: Schema.Int })),
  /** After this time no further import is started. */
  seconds: Schema.Finite,
  /** Nor if the process would have grown by more bytes. */
  memory: Schema.Int,
});
export type Imports = typeof Imports.Type;

/** The complete metadata of an `imports` frame. */
export const ImportsMeta = Schema.Struct({ ...Imports.fields, blobs: SentFields.blobs });

/** What the runner reports about imports, in `imported` frames. */
export const ImportEvent = Schema.Union([
  /** Installed modules that a job imported. */
  Schema.Struct({
    event: Schema.Literal("used"),
    modules: Schema.Array(Schema.String),
    /** The folders of all installed modules that the process has imported, relative to the virtual environment. */
    folders: Schema.Array(Schema.String),
  }),
  /** The idle process imports a module. */
  Schema.Struct({ event: Schema.Literal("started"), module: Schema.String }),
  /** The end of this import, and what it cost. */
  Schema.Struct({
    event: Schema.Literal("ended"),
    module: Schema.String,
    seconds: Schema.Finite,
    bytes: Schema.Int,
    /** Empty without an error. */
    error: Schema.String,
    /** What the module printed. */
    output: Schema.String,
  }),
  /** No further module is imported; the process waits for calls. */
  Schema.Struct({ event: Schema.Literal("done") }),
]).pipe(Schema.toTaggedUnion("event"));
export type ImportEvent = typeof ImportEvent.Type;

/** The complete metadata of `imported` frames. */
export const IMPORTED_METAS = ImportEvent.members.map((member) =>
  Schema.Struct({ ...member.fields, ...ValueMeta.fields }),
);

/** The complete metadata of a `bye` frame, and of a `cancel` frame. */
export const ByeMeta = Schema.Struct({ blobs: SentFields.blobs });
