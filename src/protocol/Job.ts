import { Predicate } from "effect";

/** A unit of work: something to do, with the id that its answer carries. */
export interface Job {
  readonly id: string;
  readonly input: unknown;
}

/** The request in a document: RunPod's `{"input": …}`, or the bare request itself. */
export const inputOf = (document: unknown): unknown =>
  Predicate.hasProperty(document, "input") ? document.input : document;
