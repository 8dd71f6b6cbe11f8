import { createHash } from "node:crypto";

import { Effect, FileSystem, Option } from "effect";

import { withoutCredentials } from "../../settings/Credentials.ts";
import { Environment } from "../../settings/Environment.ts";
import { SYSTEM_CONFIGURATION } from "./UvEnvironment.ts";

/** Variables of uv that do not determine which packages it installs. */
const IRRELEVANT =
  /^UV_(?:CACHE_DIR|LINK_MODE|NO_CACHE|OFFLINE|CONCURRENT_.*|.*_TIMEOUT|.*_RETRIES|NO_PROGRESS|COMPILE_BYTECODE|NO_CONFIG|CONFIG_FILE|SYSTEM_CERTS|NATIVE_TLS|.*_(?:USERNAME|PASSWORD))$/;

const LENGTH = 16;

/** Identifies the settings of uv that determine where packages come from and how they are built, without credentials. */
export const indexKey = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const { forPrograms } = yield* Environment;
  const configuration = Effect.option(
    files.readFileString(forPrograms["UV_CONFIG_FILE"] ?? SYSTEM_CONFIGURATION),
  );
  const variables = Object.entries(forPrograms)
    .filter(([name]) => name.startsWith("UV_") && !IRRELEVANT.test(name))
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  return yield* Effect.cached(
    Effect.map(configuration, (text) => {
      const facts = JSON.stringify([variables, Option.getOrNull(text)]);
      return createHash("sha256").update(withoutCredentials(facts)).digest("hex").slice(0, LENGTH);
    }),
  );
});
