import { Duration, Option, Result, Schema } from "effect";

import type { EncodedValue } from "../../domain/EncodedValue.ts";
import { CallTimedOut, RunnerCrashed, RunnerUnavailable } from "../RunnerError.ts";
import type { RunnerExit } from "../RunnerProcess.ts";
import { type AppCallMeta, type CallError, type CallMeta, CallResult } from "../RunnerProtocol.ts";
import type { FinishedExchange } from "./CallExchange.ts";

/** How a call ended. */
export type CallEnd =
  | {
      readonly _tag: "Completed";
      readonly result: CallResult;
      readonly value: EncodedValue | undefined;
    }
  | { readonly _tag: "ProcessEnded"; readonly exit: RunnerExit; readonly hasTimedOut: boolean }
  /** The runner would not send this response, so the process can't be trusted. */
  | { readonly _tag: "InvalidResponse" }
  /** The code stopped when it was interrupted at its timeout. */
  | { readonly _tag: "Stopped" };

const decodeResult = Schema.decodeUnknownResult(CallResult);

/** Whether a result is valid for a call: any code in the process can write one. */
const isResultOf = (
  meta: CallMeta | AppCallMeta,
  { ok, error, instance, failure = null }: CallResult,
  value: EncodedValue | undefined,
): boolean =>
  ok === (error === null) &&
  (ok === (value !== undefined) || (ok && meta.kind === "job" && failure !== null)) &&
  (value === undefined || value.format === meta.format) &&
  (instance === null ||
    (meta.kind === "class" && (meta.instanceId === null || meta.instanceId === instance.id)));

/** Interprets the end of an exchange. A value that arrives after the timeout still completes the call. */
export const interpretEnd = (
  meta: CallMeta | AppCallMeta,
  { end, hasTimedOut }: FinishedExchange,
): CallEnd => {
  if (end.exit !== undefined) return { _tag: "ProcessEnded", exit: end.exit, hasTimedOut };
  const { value } = end.response;
  const decoded = decodeResult(end.response.meta);
  if (Result.isFailure(decoded) || !isResultOf(meta, decoded.success, value)) {
    return { _tag: "InvalidResponse" };
  }
  const result = decoded.success;
  if (hasTimedOut && result.error?.kind === "cancelled") return { _tag: "Stopped" };
  return { _tag: "Completed", result, value };
};

/** The error of user code in one line. */
export const headlineOf = ({ kind, type, message }: CallError): string => {
  if (kind !== "exception") return message;
  return message === "" ? type : `${type}: ${message}`;
};

interface FailureContext {
  readonly output: string;
  readonly timeout: Option.Option<Duration.Duration>;
  /** The number of instances in the process. */
  readonly instances: number;
}

/** The error of a call that did not complete. */
export const failureOf = (
  end: Exclude<CallEnd, { _tag: "Completed" }>,
  { output, timeout, instances }: FailureContext,
): RunnerCrashed | CallTimedOut | RunnerUnavailable => {
  const timedOut = (killed: boolean) => {
    const seconds = Option.match(timeout, { onNone: () => 0, onSome: Duration.toSeconds });
    return new CallTimedOut({ seconds, killed, output });
  };
  if (end._tag === "Stopped") return timedOut(false);
  if (end._tag === "InvalidResponse") {
    return new RunnerUnavailable({
      reason: "sent an invalid response",
      output,
      hasStarted: true,
    });
  }
  if (end.hasTimedOut) return timedOut(true);
  const { code, signal, fault } = end.exit;
  return new RunnerCrashed({
    ...(fault === undefined ? {} : { fault }),
    ...(code === undefined ? {} : { exitCode: code }),
    ...(signal === undefined ? {} : { signal }),
    instancesLost: instances,
    output,
  });
};
