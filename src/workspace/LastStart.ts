import { Context, Effect, FileSystem, Layer, Option, Path, Schema } from "effect";

import manifest from "../../package.json" with { type: "json" };
import { withoutControls } from "../platform/ControlCharacters.ts";
import { replaceFile } from "../platform/files/AtomicFile.ts";
import { readSmallFile } from "../platform/files/SmallFile.ts";
import { wallMillis } from "../settings/SteadyClock.ts";
import type { Place } from "../venv/Place.ts";

/** What a worker found and did when it came to a workspace. */
const Start = Schema.Struct({
  /** ISO 8601 in UTC. */
  at: Schema.String,
  /** Version of the worker. */
  worker: Schema.String,
  workspace: Schema.String,
  shared: Schema.Boolean,
  /** The virtual environment's name, and its Python's version. */
  environment: Schema.String,
  python: Schema.String,
  /** Whether it was there already, and if not, who made it. */
  origin: Schema.String,
  seconds: Schema.Finite,
  /** Why the network volume did not serve, where it was tried first. */
  trouble: Schema.NullOr(Schema.String),
});
export type Start = typeof Start.Type;

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Start));

/** The file in a workspace; when it was written says when the workspace was last used. */
export const LAST_START = ".last-start.json";

/** Word in a workspace of the worker that came to it last, for people who look for what went wrong. */
export class LastStart extends Context.Service<
  LastStart,
  {
    /** Leaves word; where that can't be done, nothing is lost but the word. */
    readonly write: (place: Place, start: Omit<Start, "at" | "worker">) => Effect.Effect<void>;
    /** What the last worker left. */
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
          Effect.catch((error) => Effect.logDebug(`No word of this start: ${error.message}`)),
        ),
        read: (place) =>
          readSmallFile(files, fileOf(place)).pipe(
            // Anybody who can write there could have written it, and it is shown in a terminal.
            Effect.map((text) => decode(withoutControls(text).replaceAll(/\\u[0-9a-f]{4}/gi, " "))),
            Effect.orElseSucceed(Option.none<Start>),
          ),
      });
    }),
  );
}
