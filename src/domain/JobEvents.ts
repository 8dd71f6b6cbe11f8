import { Context } from "effect";

import type { FunctionAnswer } from "./FunctionAnswer.ts";

/** Where a job is on its way. */
type Stage = "workspace" | "dependencies" | "running";

/**
 * What a job's end indicates about the machine: its code ran, CUDA failed in it, no Python process could be started for
 * it, or there was no workspace for one. A request that was refused before that says nothing, and has no such event.
 */
export type JobEnd = "ran" | "cuda" | "launch" | "workspace";

/** What happens while a job is carried out, told at once to whoever listens; a listener must not block. */
export interface JobEvents {
  readonly stage?: ((stage: Stage) => void) | undefined;
  /** A Python process was started for the job; other jobs run in processes that earlier ones have left. */
  readonly launched?: (() => void) | undefined;
  /** Whole lines of the job's output with their line ends, as they come. */
  readonly output?: ((lines: string) => void) | undefined;
  /** The job left a process that can't use its GPU any more; it was replaced. */
  readonly poisoned?: (() => void) | undefined;
  /**
   * One value of a generator, in the shape of an answer, or undefined in place of one that is too large to be
   * streamed; absent when nobody streams.
   */
  readonly chunk?: ((chunk: FunctionAnswer | undefined) => void) | undefined;
  /** What the job's end indicates about the machine, and the error if there was one. */
  readonly ended?: ((end: JobEnd, reason: string) => void) | undefined;
}

const silent: JobEvents = {};

type Listener<A extends ReadonlyArray<unknown>> = ((...event: A) => void) | undefined;

const inTurn = <A extends ReadonlyArray<unknown>>(
  first: Listener<A>,
  second: Listener<A>,
): Listener<A> =>
  first !== undefined && second !== undefined
    ? (...event) => {
        first(...event);
        second(...event);
      }
    : (first ?? second);

/** Both listeners get every event; an event that only one of them wants still reaches that one. */
export const both = (first: JobEvents, second: JobEvents): JobEvents => {
  // Every event must be listed here: one that is forgotten does not compile.
  const joined: Required<JobEvents> = {
    stage: inTurn(first.stage, second.stage),
    launched: inTurn(first.launched, second.launched),
    output: inTurn(first.output, second.output),
    poisoned: inTurn(first.poisoned, second.poisoned),
    chunk: inTurn(first.chunk, second.chunk),
    ended: inTurn(first.ended, second.ended),
  };
  return joined;
};

/** The most lines of a job's output that its listener gets in one second; the rest are only counted. */
export const OutputRate = Context.Reference<number>("worker-tetra/protocol/OutputRate", {
  defaultValue: () => 200,
});

/** The listener of the current job; nobody listens unless one is provided. */
export const JobEvents = Context.Reference<JobEvents>("worker-tetra/domain/JobEvents", {
  defaultValue: () => silent,
});
