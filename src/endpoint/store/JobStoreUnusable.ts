import { Schema } from "effect";

import { diskFault } from "../../platform/files/DiskFault.ts";

/** The folder or its database can't be used; nothing in it was changed. */
export class JobStoreUnusable extends Schema.TaggedError<JobStoreUnusable>()("JobStoreUnusable", {
  path: Schema.String,
  reason: Schema.String,
  /** Whether another process uses it, which may be exiting. */
  isBusy: Schema.Boolean,
}) {
  override get message(): string {
    return `Could not store jobs in ${this.path}: ${this.reason}`;
  }
}

export const unusable = (path: string, reason: string, isBusy = false) =>
  new JobStoreUnusable({ path, reason, isBusy });

export const unwritable = (folder: string, problem: string, error: unknown) =>
  unusable(folder, diskFault(folder, problem)(error).message);
