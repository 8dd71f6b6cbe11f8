import { Context, Effect, FileSystem, Layer, Option, Path, Schema } from "effect";

import manifest from "../../package.json" with { type: "json" };
import { withoutControls } from "../platform/ControlCharacters.ts";
import { replaceFile } from "../platform/files/AtomicFile.ts";
import { readSmallFile } from "../platform/files/SmallFile.ts";
import { wallMillis } from "../settings/SteadyClock.ts";
import type { Place } from "../venv/Place.ts";

/** How a worker prepared a workspace. */
const Start = Schema.Struct({
  /** ISO 8601 in UTC. */
  at: Schema.String,
  /** Version of the worker. */
  worker: Schema.String,
  workspace: Schema.String,
  shared: Schema.Boolean,
  /** Name of the virtual environment, and its version of Python. */
  environment: Schema.String,
  python: Schema.String,
  /** How the worker got the virtual environment: an `Origin`. */
  origin: Schema.String,
  seconds: Schema.Finite,
  /** Why the network volume was not used, if that was tried. */
  trouble: Schema.NullOr(Schema.String),
});
export type Start = typeof Start.Type;

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Start));

/** File in a workspace. Its modification time is the time of the last use. */
export const LAST_START = ".last-start.json";

/** A record of the last start in a workspace, for troubleshooting. */
export class LastStart extends Context.Service<
  LastStart,
  {
    /** Writes the record. A failure is only logged. */
    readonly write: (place: Place, start: Omit<Start, "at" | "worker">) => Effect.Effect<void>;
    /** Reads the record of the last worker. */
    readonly read: (place: Place) => Effect.Effect<Option.Option<Start>>;
  }
>()("worker-tetra/workspace/LastStart") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const path = yield* Path.Path;
      const fileOf = ({ directory }: Place) => path.join(directory, LAST_START);
      return LastStart.of({
        write: Effect.fnUntraced(
          function* (place, start) {
            const at = new Date(yield* wallMillis).toISOString();
            const text = JSON.stringify({ at, worker: manifest.version, ...start });
            yield* replaceFile(files, fileOf(place), text);
          },
          Effect.catch((error) =>
            Effect.logDebug(`Could not write ${LAST_START}: ${error.message}`),
          ),
        ),
        read: (place) =>
          readSmallFile(files, fileOf(place)).pipe(
            // Jobs can write to the file, and its content is printed to a terminal.
            Effect.map((text) => decode(withoutControls(text).replaceAll(/\\u[0-9a-f]{4}/gi, " "))),
            Effect.orElseSucceed(Option.none<Start>),
          ),
      });
    }),
  );
}
