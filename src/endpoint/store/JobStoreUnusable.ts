import { Schema } from "effect";

import { diskFault } from "../../platform/files/DiskFault.ts";

/** The folder or the database can't be used. Nothing in it was changed. */
export class JobStoreUnusable extends Schema.TaggedError<JobStoreUnusable>()("JobStoreUnusable", {
  path: Schema.String,
  reason: Schema.String,
  /** Another process uses it, perhaps one that is about to exit. */
  isBusy: Schema.Boolean,
}) {
  override get message(): string {
    return `Jobs can't be kept in ${this.path}: ${this.reason}`;
  }
}

export const unusable = (path: string, reason: string, isBusy = false) =>
  new JobStoreUnusable({ path, reason, isBusy });

export const unwritable = (folder: string, problem: string, error: unknown) =>
  unusable(folder, diskFault(folder, problem)(error).message);
