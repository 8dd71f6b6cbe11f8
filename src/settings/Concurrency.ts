import * as Setting from "./Setting.ts";

/** As many Python processes as jobs at a time. */
export const CONCURRENCY = Setting.integer({
  name: "WORKER_CONCURRENCY",
  doc: "How many jobs run at the same time, each in a Python process of its own.",
  unit: "jobs",
  minimum: 1,
  fallback: 1,
});

/**
 * How many jobs `serve` runs at a time by default: a function may call another one, and RunPod starts up to three
 * workers for an endpoint.
 */
export const SERVE_CONCURRENCY = 3;
