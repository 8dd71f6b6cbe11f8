import * as Setting from "./Setting.ts";

export const CONCURRENCY = Setting.integer({
  name: "WORKER_CONCURRENCY",
  doc: "Number of live requests that run at the same time, each in a separate Python process. Deployed apps set their own `max_concurrency`.",
  unit: "jobs",
  minimum: 1,
  // Clients of SDK 2.0 set it to the `max_concurrency` of a resource.
  alternativeName: "RUNPOD_MAX_CONCURRENCY",
  fallback: 1,
});

/**
 * Default number of concurrent jobs of `serve`. Functions may call other functions, and RunPod starts up to three
 * workers for an endpoint by default.
 */
export const SERVE_CONCURRENCY = 3;

export const SDK_CONCURRENCY = Setting.optionalInteger({
  name: "RUNPOD_MAX_CONCURRENCY",
  doc: "Number of jobs of a resource of SDK 2.0 that run at the same time; set by `rp flash deploy`.",
  unit: "jobs",
  minimum: 1,
  fallback: "maxConcurrency of the app's manifest, else 1",
});
