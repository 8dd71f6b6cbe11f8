import { Context } from "effect";

import type { EncodedResponse } from "./EncodedResponse.ts";

type Stage = "workspace" | "dependencies" | "running";

/**
 * What a job's end indicates about the machine: its code ran, CUDA failed in it, no Python process could be started for
 * it, or there was no workspace for one. A request that is rejected before that indicates nothing, and has no such event.
 */
export type JobEnd = "ran" | "cuda" | "launch" | "workspace";

/** The fields of each kind of event. */
interface Fields {
  readonly StageStarted: { readonly stage: Stage };
  /** A Python process was started for the job; other jobs run in processes that were started before. */
  readonly ProcessStarted: object;
  /** Whole lines of the job's output with their line ends, as they come. */
  readonly OutputWritten: { readonly lines: string };
  /** The job left a process that can't use its GPU any more; it was replaced. */
  readonly GpuLost: object;
  /** One value of a generator, in the shape of a response; undefined in place of one that is too large to be streamed. */
  readonly ValueYielded: { readonly value: EncodedResponse | undefined };
  /** `reason` is the error, or empty if there was none. */
  readonly Ended: { readonly end: JobEnd; readonly reason: string };
}

/** What happens while a job is carried out. */
export type JobEvent<Tag extends keyof Fields = keyof Fields> = {
  readonly [Each in Tag]: { readonly _tag: Each } & Fields[Each];
}[Tag];

/** Receives the events of a job. */
export interface JobListener {
  /** Called at once and in order, so it must not block. */
  readonly notify: (event: JobEvent) => void;
  /** Whether `OutputWritten` is wanted: without a listener, output is not split into lines. */
  readonly wantsOutput: boolean;
  /** Whether `ValueYielded` is wanted: without a listener, values are only sent at the end, in the result. */
  readonly wantsValues: boolean;
}

type Handlers = { readonly [Tag in keyof Fields]?: (event: JobEvent<Tag>) => void };

const dispatch = <Tag extends keyof Fields>(handlers: Handlers, event: JobEvent<Tag>): void => {
  const handler: ((event: JobEvent<Tag>) => void) | undefined = handlers[event._tag];
  handler?.(event);
};

/** A listener for some kinds of events. */
export const listenerOf = (handlers: Handlers): JobListener => ({
  notify: (event) => dispatch(handlers, event),
  wantsOutput: handlers.OutputWritten !== undefined,
  wantsValues: handlers.ValueYielded !== undefined,
});

/** A listener that passes every event on to two others. */
export const both = (first: JobListener, second: JobListener): JobListener => ({
  notify: (event) => {
    first.notify(event);
    second.notify(event);
  },
  wantsOutput: first.wantsOutput || second.wantsOutput,
  wantsValues: first.wantsValues || second.wantsValues,
});

const silent = listenerOf({});

/** The maximum number of lines per second in `OutputWritten`; more are only counted. */
export const OutputRate = Context.Reference<number>("worker-tetra/domain/OutputRate", {
  defaultValue: () => 200,
});

/** The listener of the current job; by default events are dropped. */
export const JobListener = Context.Reference<JobListener>("worker-tetra/domain/JobListener", {
  defaultValue: () => silent,
});
