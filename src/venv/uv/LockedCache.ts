import { Clock, Duration, Effect, Ref } from "effect";

import type { ProgramFailed } from "../../platform/programs/Programs.ts";
import { Environment } from "../../settings/Environment.ts";
import type { UvUnavailable } from "./UvInstallation.ts";

type Variables = Readonly<Record<string, string>>;

/** uv's default is 5 minutes. A host that died keeps its locks in a cache on the volume for a day. */
const LOCK_TIMEOUT = Duration.seconds(15);

/** How long uv runs without the cache after it could not lock it. */
const AVOIDED_FOR = Duration.minutes(10);

const isLocked = ({ output }: ProgramFailed): boolean =>
  /Timeout \(\d+s\) when waiting for lock/.test(output);

/** Runs uv again without its cache if another host has locked it. */
export const lockedCache = Effect.gen(function* () {
  const { forPrograms } = yield* Environment;
  const avoidedUntil = yield* Ref.make(0);
  const timeout: Variables =
    forPrograms["UV_LOCK_TIMEOUT"] === undefined
      ? { UV_LOCK_TIMEOUT: String(Duration.toSeconds(LOCK_TIMEOUT)) }
      : {};

  /** `run` is called with the environment variables of uv. */
  return Effect.fnUntraced(function* (
    given: Variables,
    run: (environment: Variables) => Effect.Effect<string, ProgramFailed | UvUnavailable>,
  ) {
    const cache = given["UV_CACHE_DIR"] ?? forPrograms["UV_CACHE_DIR"];
    if (cache === undefined || given["UV_NO_CACHE"] !== undefined) return yield* run(given);
    const withoutCache = run({ ...given, UV_NO_CACHE: "1" });
    const now = yield* Clock.currentTimeMillis;
    if (now < (yield* Ref.get(avoidedUntil))) return yield* withoutCache;
    return yield* run({ ...timeout, ...given }).pipe(
      Effect.catchIf(
        (error) => error._tag === "ProgramFailed" && isLocked(error),
        Effect.fnUntraced(function* () {
          yield* Ref.set(avoidedUntil, now + Duration.toMillis(AVOIDED_FOR));
          yield* Effect.logWarning(
            `uv's cache ${cache} stays locked by another worker, whose host may have died: running uv without it for ${Duration.toMinutes(AVOIDED_FOR)} minutes.`,
          );
          return yield* withoutCache;
        }),
      ),
    );
  });
});
