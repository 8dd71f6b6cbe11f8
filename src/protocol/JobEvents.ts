import { Context } from "effect";

import type { FunctionResponse } from "./FunctionResponse.ts";

/** Where a job is on its way. */
type Stage = "workspace" | "dependencies" | "running";

/** What happens while a job is carried out, told at once to whoever listens; a listener must not block. */
export interface JobEvents {
  readonly stage?: (stage: Stage) => void;
  /** Whole lines of the job's output with their line ends, as they come. */
  readonly output?: (lines: string) => void;
  /** The job left a process that can't use its GPU any more; it was replaced. */
  readonly poisoned?: () => void;
  /** One value of a generator, in the shape of an answer; absent when nobody streams. */
  readonly chunk?: (chunk: FunctionResponse) => void;
}

const silent: JobEvents = {};

/** The listener of the current job; nobody listens unless one is provided. */
export const JobEvents = Context.Reference<JobEvents>("worker-tetra/protocol/JobEvents", {
  defaultValue: () => silent,
});
