import { Duration, Effect } from "effect";

import type { JobEntry } from "./JobEntry.ts";
import type { JobLifecycle } from "./JobLifecycle.ts";
import { nextExpiry } from "./JobTimers.ts";

/** Ends or removes jobs when their timers end. Never returns. */
export const expireJobs = ({ table, timers, now, end, remove }: JobLifecycle) => {
  const expire = Effect.fnUntraced(function* (entry: JobEntry) {
    const { expiry, at } = nextExpiry(entry);
    if (table.find(entry.id) !== entry) return;
    // The state may have changed meanwhile, and timers may be a little early.
    if (at > now()) return timers.start(entry);
    switch (expiry) {
      case "retention":
        return yield* remove(entry);
      case "ttl":
        yield* end(entry, "TIMED_OUT", "The job did not finish within its policy.ttl.");
        return yield* remove(entry);
      case "executionTimeout":
        return yield* end(
          entry,
          "TIMED_OUT",
          `The job exceeded its timeout of ${Duration.toSeconds(entry.executionTimeout)} seconds. Set a longer one in the request: {"policy": {"executionTimeout": milliseconds}}.`,
        );
    }
  }, Effect.uninterruptible);

  return timers.next.pipe(Effect.flatMap(expire), Effect.forever);
};
