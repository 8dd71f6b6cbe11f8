import type { JobEvents } from "../protocol/JobEvents.ts";

/** Clients find a job's lines in the pod's log by what they are: exactly as printed. */
export const liveOutput: JobEvents = {
  output: (lines) => {
    process.stdout.write(lines);
  },
};
