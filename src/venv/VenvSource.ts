import { createHash } from "node:crypto";

import { Effect, Option } from "effect";

import { Interpreters } from "./Interpreters.ts";
import { BASE_PACKAGES } from "./build/BasePackages.ts";

const FINGERPRINT_LENGTH = 8;

/**
 * The interpreters that this worker builds venvs from, and their fingerprint. Venvs with another fingerprint belong to
 * another image, whose workers may still run during a rolling release: they are neither used nor removed.
 */
export const venvSource = Effect.gen(function* () {
  const interpreters = yield* Interpreters;
  return yield* Effect.cached(
    Effect.gen(function* () {
      const base = yield* interpreters.base;
      const image = yield* interpreters.image;
      const facts = [
        base.identity,
        BASE_PACKAGES,
        Option.isSome(image) ? image.value.identity : null,
      ];
      const hash = createHash("sha256").update(JSON.stringify(facts)).digest("hex");
      return { base, image, fingerprint: hash.slice(0, FINGERPRINT_LENGTH) };
    }),
  );
});

export type VenvSource = Effect.Success<Effect.Success<typeof venvSource>>;
