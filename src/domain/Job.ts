import { Predicate, Schema } from "effect";

/** A job from RunPod; it has more keys than these. */
export const Job = Schema.Struct({
  id: Schema.NonEmptyString,
  /** Absent when the client sent an empty one: the service drops it. */
  input: Schema.optionalKey(Schema.Unknown),
});
export type Job = typeof Job.Type;

/** The request in the document of a job: RunPod's `{"input": …}`, or the bare request itself. */
export const inputOf = (document: unknown): unknown =>
  Predicate.hasProperty(document, "input") ? document.input : document;
