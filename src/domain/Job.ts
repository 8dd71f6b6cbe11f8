import { Predicate, Schema } from "effect";

import { memberTexts } from "./JsonLimits.ts";

/** A job from RunPod; other keys are ignored. */
export const Job = Schema.Struct({
  id: Schema.NonEmptyString,
  /** Absent if the client sent an empty object, which RunPod drops. */
  input: Schema.optionalKey(Schema.Unknown),
});
export type Job = typeof Job.Type & {
  /**
   * The JSON text of `input` as the client wrote it. Parsing loses the difference between `1.0` and `1`, digits of large
   * integers, and the order of some keys; Python code sees them.
   */
  readonly inputText?: Uint8Array;
};

/** The fields of a job for the JSON text of the job. */
export const inputTextIn = (job: Uint8Array): Pick<Job, "inputText"> => {
  const inputText = memberTexts(job, ["input"]).get("input");
  return inputText === undefined ? {} : { inputText };
};

/** The request in a document: the value of `input`, or the document itself. */
export const inputOf = (document: unknown): unknown =>
  Predicate.hasProperty(document, "input") ? document.input : document;

/** The JSON text of the same request. */
export const inputTextOf = (document: Uint8Array): Uint8Array =>
  inputTextIn(document).inputText ?? document;
