import { Schema } from "effect";

/** This machine can't run jobs. */
export class Unfit extends Schema.TaggedError<Unfit>()("Unfit", {
  /** The name of the failed check in the report to RunPod. */
  check: Schema.Literals(["python", "disk", "gpu", "memory"]),
  reason: Schema.String,
}) {
  override get message(): string {
    return `This worker can't take jobs: ${this.reason}`;
  }
}
