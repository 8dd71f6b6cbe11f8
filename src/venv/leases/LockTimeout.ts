import { Schema } from "effect";

/** Another worker held the lock for longer than the timeout. */
export class LockTimeout extends Schema.TaggedError<LockTimeout>()("LockTimeout", {
  path: Schema.String,
  /** Seconds waited. */
  waited: Schema.Finite,
  holder: Schema.optionalKey(Schema.String),
}) {
  override get message(): string {
    const { holder = "unknown" } = this;
    return (
      `${this.path} has been locked by another worker for more than ${this.waited} seconds (holder: ${holder}). ` +
      "If that worker is still building, raise WORKSPACE_INIT_TIMEOUT; if it hangs, stop it: the lock is released when its process ends."
    );
  }
}
