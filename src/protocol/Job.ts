import { Predicate } from "effect";

/** The request in the document of a job: RunPod's `{"input": …}`, or the bare request itself. */
export const inputOf = (document: unknown): unknown =>
  Predicate.hasProperty(document, "input") ? document.input : document;
