import { Schema } from "effect";

/** A virtual environment could not be built. */
export class VenvCreationFailed extends Schema.TaggedError<VenvCreationFailed>()(
  "VenvCreationFailed",
  { path: Schema.String, step: Schema.String, output: Schema.String },
) {
  override get message(): string {
    return `The virtual environment ${this.path} could not be built: ${this.step} failed. ${this.output.trim()}`;
  }
}
