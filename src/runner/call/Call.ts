import type { EncodedValue } from "../../domain/EncodedValue.ts";
import type { PreparedWorkspace, WorkspaceError } from "../../workspace/PreparedWorkspace.ts";
import type {
  CallTimedOut,
  PreloadFailed,
  RunnerCrashed,
  RunnerUnavailable,
} from "../RunnerError.ts";
import type { CallMeta, CallResult } from "../RunnerProtocol.ts";

/** A call of a function or a method. */
export interface Call {
  readonly meta: CallMeta;
  /** The encoded arguments, in the order of `CallMeta`. */
  readonly blobs: ReadonlyArray<Uint8Array>;
  /** A process that ran its last call with an older generation of this workspace invalidates its import caches first. */
  readonly workspace: PreparedWorkspace;
  /** Receives each item of a generator when it is yielded; undefined for an item that exceeds its limit. */
  readonly chunk?: (value: EncodedValue | undefined) => void;
}

/** A call that ended in Python with a value or an error of the user's code. */
export interface CallOutcome {
  readonly result: CallResult;
  readonly value: EncodedValue | undefined;
  /** All output with the worker's notes; credentials are masked. */
  readonly output: string;
}

export type CallFailed =
  | RunnerCrashed
  | CallTimedOut
  | RunnerUnavailable
  | PreloadFailed
  | WorkspaceError;
