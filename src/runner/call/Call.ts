import type { EncodedValue } from "../../domain/EncodedValue.ts";
import type { PreparedWorkspace, WorkspaceError } from "../../workspace/PreparedWorkspace.ts";
import type { CallTimedOut, RunnerCrashed, RunnerUnavailable } from "../RunnerError.ts";
import type { CallMeta, CallResult } from "../RunnerProtocol.ts";

/** A call of a function or a method, to be sent to a Python process. */
export interface Call {
  readonly meta: CallMeta;
  /** The arguments as the runner decodes them, in its order. */
  readonly blobs: ReadonlyArray<Uint8Array>;
  /** Where it runs. A process that has seen a lower generation of it invalidates its import caches first. */
  readonly workspace: PreparedWorkspace;
  /** Receives each value of a generator as it comes; undefined in place of one that is above its limit. */
  readonly chunk?: (value: EncodedValue | undefined) => void;
}

/** A call that came to its end in Python, with a value or with an error of the user's code. */
export interface CallOutcome {
  readonly result: CallResult;
  readonly value: EncodedValue | undefined;
  /** Everything written, with the worker's own notes, credentials masked. */
  readonly output: string;
}

export type CallFailed = RunnerCrashed | CallTimedOut | RunnerUnavailable | WorkspaceError;
