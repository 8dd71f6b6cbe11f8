import { Effect } from "effect";

import type { ResponseLimit } from "../domain/EncodedResponse.ts";
import * as Setting from "./Setting.ts";

const RESULT_LIMIT = Setting.integer({
  name: "WORKER_RESULT_LIMIT",
  doc: "Maximum size of a response, including its output; a job with a larger response fails. RunPod documents 20 MB for `/runsync` and 10 MB for `/run`. Does not apply to commands that print their results.",
  unit: "bytes",
  minimum: 64 * 1024,
  fallback: 20 * 1024 * 1024,
});

/** The limit for responses that are sent to clients. */
export const responseLimit = Effect.map(RESULT_LIMIT.value, (bytes): ResponseLimit => ({
  bytes,
  source: "WORKER_RESULT_LIMIT allows",
}));

/** The limit for responses that are not sent to RunPod: their JSON must fit into a V8 string (512 MiB). */
export const LOCAL_LIMIT: ResponseLimit = {
  bytes: 384 * 1024 * 1024,
  source: "a response can have",
};
