import { Schema } from "effect";

/** A pickle that can't be shown. */
export class PickleUnreadable extends Schema.TaggedError<PickleUnreadable>()("PickleUnreadable", {
  reason: Schema.String,
}) {
  override get message(): string {
    return this.reason;
  }
}

export const unreadable = (reason: string) => new PickleUnreadable({ reason });
