import { Duration, Effect } from "effect";

import type { JobEntry } from "./JobEntry.ts";
import type { JobLifecycle } from "./JobLifecycle.ts";
import { nextExpiry } from "./JobTimers.ts";

/** Ends and forgets jobs whose time limits are reached, for ever. */
export const expireJobs = ({ table, timers, now, end, remove }: JobLifecycle) => {
  const expire = Effect.fnUntraced(function* (entry: JobEntry) {
    const { expiry, at } = nextExpiry(entry);
    if (table.find(entry.id) !== entry) return;
    // Another state has another limit, and timers may be a little early.
    if (at > now()) return timers.start(entry);
    switch (expiry) {
      case "retention":
        return yield* remove(entry);
      case "ttl":
        yield* end(entry, "TIMED_OUT", "The job was not done within its policy.ttl.");
        return yield* remove(entry);
      case "executionTimeout":
        return yield* end(
          entry,
          "TIMED_OUT",
          `The job ran longer than ${Duration.toSeconds(entry.executionTimeout)} seconds. Send more with it: {"policy": {"executionTimeout": milliseconds}}.`,
        );
    }
  }, Effect.uninterruptible);

  return timers.next.pipe(Effect.flatMap(expire), Effect.forever);
};
