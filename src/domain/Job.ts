import { Predicate, Schema } from "effect";

/** A job from RunPod; other keys are ignored. */
export const Job = Schema.Struct({
  id: Schema.NonEmptyString,
  /** Absent if the client sent an empty object, which RunPod drops. */
  input: Schema.optionalKey(Schema.Unknown),
});
export type Job = typeof Job.Type;

/** The request in a document: the value of `input`, or the document itself. */
export const inputOf = (document: unknown): unknown =>
  Predicate.hasProperty(document, "input") ? document.input : document;
