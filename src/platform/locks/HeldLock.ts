import type { Effect } from "effect";

import type { DiskFault } from "../files/DiskFault.ts";

export type LockMode = "exclusive" | "shared";

/** A lock that is held until its scope closes. */
export interface HeldLock {
  /** Replaces the file's content. Fails if the lock was lost because the process that held it ended. */
  readonly write: (text: string) => Effect.Effect<void, DiskFault>;
  /** Sets the file's modification time. Works on a full volume too. Fails if the lock was lost. */
  readonly touch: Effect.Effect<void, DiskFault>;
}
