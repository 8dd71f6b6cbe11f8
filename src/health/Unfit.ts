import { Schema } from "effect";

/** This machine can't do the work. */
export class Unfit extends Schema.TaggedError<Unfit>()("Unfit", {
  /** The check that failed, as it is reported to RunPod. */
  check: Schema.Literals(["python", "disk", "gpu", "memory"]),
  reason: Schema.String,
}) {
  override get message(): string {
    return `This worker can't take jobs: ${this.reason}`;
  }
}
