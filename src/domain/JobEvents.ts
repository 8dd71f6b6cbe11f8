import { Context } from "effect";

import type { EncodedBody } from "./EncodedBody.ts";

type Stage = "workspace" | "dependencies" | "running";

/**
 * What the end of a job shows about the machine: the code ran, CUDA failed, no Python process could be started, or
 * there was no workspace. A request that is rejected earlier shows nothing, and has no `Ended` event.
 */
export type JobEnd = "ran" | "cuda" | "launch" | "workspace";

/** The fields of each kind of event. */
interface Fields {
  readonly StageStarted: { readonly stage: Stage };
  /** A Python process was started for the job; other jobs run in processes that were started before. */
  readonly ProcessStarted: object;
  /** Whole lines of output with their line ends, as soon as they arrive. */
  readonly OutputWritten: { readonly lines: string };
  /** The process of the job can no longer use the GPU, and was replaced. */
  readonly GpuLost: object;
  /** One value of a generator; undefined stands for a value that is too large to stream. */
  readonly ValueYielded: { readonly value: EncodedBody | undefined };
  /** `reason` is the error, or empty without an error. */
  readonly Ended: { readonly end: JobEnd; readonly reason: string };
}

/** An event of a running job. */
export type JobEvent<Tag extends keyof Fields = keyof Fields> = {
  readonly [Each in Tag]: { readonly _tag: Each } & Fields[Each];
}[Tag];

/** Receives the events of a job. */
export interface JobListener {
  /** Called synchronously and in order, so it must not block. */
  readonly notify: (event: JobEvent) => void;
  /** Whether `OutputWritten` is needed: otherwise output is not split into lines. */
  readonly needsOutput: boolean;
  /** Whether `ValueYielded` is needed: otherwise values are only sent in the result. */
  readonly needsValues: boolean;
}

type Handlers = { readonly [Tag in keyof Fields]?: (event: JobEvent<Tag>) => void };

const dispatch = <Tag extends keyof Fields>(handlers: Handlers, event: JobEvent<Tag>): void => {
  const handler: ((event: JobEvent<Tag>) => void) | undefined = handlers[event._tag];
  handler?.(event);
};

/** A listener for some kinds of events. */
export const listenerOf = (handlers: Handlers): JobListener => ({
  notify: (event) => dispatch(handlers, event),
  needsOutput: handlers.OutputWritten !== undefined,
  needsValues: handlers.ValueYielded !== undefined,
});

/** A listener that passes every event to two others. */
export const both = (first: JobListener, second: JobListener): JobListener => ({
  notify: (event) => {
    first.notify(event);
    second.notify(event);
  },
  needsOutput: first.needsOutput || second.needsOutput,
  needsValues: first.needsValues || second.needsValues,
});

const silent = listenerOf({});

/** The maximum number of lines per second in `OutputWritten`; further lines are only counted. */
export const OutputRate = Context.Reference<number>("worker-tetra/domain/OutputRate", {
  defaultValue: () => 200,
});

/** The listener of the current job; the default ignores events. */
export const JobListener = Context.Reference<JobListener>("worker-tetra/domain/JobListener", {
  defaultValue: () => silent,
});
