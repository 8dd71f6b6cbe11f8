import { createHash } from "node:crypto";
import { join } from "node:path";

import {
  Clock,
  Context,
  Duration,
  Effect,
  FileSystem,
  Layer,
  Option,
  Ref,
  Schedule,
  Schema,
} from "effect";

import { BackgroundWork } from "../../platform/BackgroundWork.ts";
import { formatBytes } from "../../platform/files/DiskUsage.ts";
import { safeFileSystem } from "../../platform/files/SafeFileSystem.ts";
import { writableCache } from "../../platform/files/Writability.ts";
import { VolumeProcess } from "../../platform/volume/VolumeProcess.ts";
import * as Setting from "../../settings/Setting.ts";
import type { Place } from "../../venv/Place.ts";
import { ENDPOINT_ID } from "../Volume.ts";
import { readHotModels, recordHotModels } from "./HotModels.ts";

type Variables = Readonly<Record<string, string>>;

const LOCAL_MODELS = Setting.optionalByteSize({
  name: "WORKER_LOCAL_MODELS",
  doc: "Maximum size of the copies of models on the container's disk. The Hugging Face models that the endpoint's jobs use are copied from the network volume in the background.",
});

/** The variable of the runner: the folder for its records of used models. */
const MODEL_USE = "WORKER_MODEL_USE";

/** Variables with the path of the hub cache. */
const HUB_VARIABLES = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"] as const;

/** Time between two looks at the runner's records, which are on the container's disk: a worker may end soon after a job. */
const LOOK_EVERY = Duration.seconds(1);

/** Time between two updates of the view without new records. Each takes some operations on the volume. */
const REFRESH_EVERY = Duration.minutes(1);

/** Jobs that arrive wait for no copy, but compete with one for this time. */
const STEP = Duration.seconds(2);

/** Time to prepare the view. Later, the models are used from the volume. */
const OPEN_DEADLINE = Duration.seconds(10);

const CopyStep = Schema.Struct({
  isDone: Schema.Boolean,
  isFull: Schema.Boolean,
  bytes: Schema.Finite,
  problems: Schema.Array(Schema.String),
});

/** The folders of the models of a volume. See tetra_volume/models/view.py. */
interface ModelFolders {
  readonly hub: string;
  readonly views: string;
  readonly local: string;
}

/** The folders for a hub cache on the volume; `cache` is on the container's disk. */
export const modelFolders = (cache: string, { caches }: Place): ModelFolders => {
  const home = join(caches, ".hf-cache");
  const hub = join(home, "hub");
  const id = createHash("sha256").update(hub).digest("hex").slice(0, 12);
  return { hub, views: join(home, "views"), local: join(cache, "models", id) };
};

/** What the worker does with the models of a volume. */
interface Session {
  readonly folders: ModelFolders;
  /** The record of hot models on the volume. */
  readonly file: string;
  /** The folder for the runner's records. */
  readonly records: string;
  readonly limit: number;
}

/** The work in the background: each effect is one piece of it. */
const makeWork = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const volume = yield* VolumeProcess;
  const background = yield* BackgroundWork;

  /** Copies for some seconds, and queues the next step, so that other work gets its turn. */
  const copy: (session: Session) => Effect.Effect<void> = (session) =>
    background.run(
      "copying models",
      Effect.gen(function* () {
        const { folders, file, limit } = session;
        const hot = yield* readHotModels(files, file);
        const seconds = Duration.toSeconds(STEP);
        const args = { ...folders, hot, limit, seconds };
        const step = yield* volume.request("models.copy", args, CopyStep);
        yield* Effect.forEach(step.problems, (problem) => Effect.logWarning(problem));
        if (!step.isDone) return yield* copy(session);
        if (step.bytes === 0 && !step.isFull) return;
        const size = formatBytes(step.bytes);
        yield* Effect.logInfo(
          step.isFull
            ? `Copied ${size} of models to ${folders.local}; the rest exceeds WORKER_LOCAL_MODELS or the free disk space`
            : `Copied models (${size}) to ${folders.local}`,
        );
      }),
    );

  const recordsIn = ({ records }: Session) =>
    Effect.orElseSucceed(files.readDirectory(records), (): ReadonlyArray<string> => []);

  const update = Effect.fnUntraced(function* (session: Session, hasView: boolean) {
    const { file, records, folders } = session;
    const names = yield* recordsIn(session);
    yield* recordHotModels(files, file, names);
    yield* Effect.forEach(names, (name) => files.remove(join(records, name), { force: true }));
    if (hasView) yield* volume.request("models.refresh", folders, Schema.Null);
  });

  /** Records which models jobs use, and shows them what other containers download. */
  const watch = Effect.fnUntraced(function* (session: Session, hasView: boolean) {
    const updatedAt = yield* Ref.make(yield* Clock.currentTimeMillis);
    const look = Effect.gen(function* () {
      const names = yield* recordsIn(session);
      const now = yield* Clock.currentTimeMillis;
      const isDue = now - (yield* Ref.get(updatedAt)) > Duration.toMillis(REFRESH_EVERY);
      if (names.length === 0 && !(hasView && isDue)) return;
      yield* Ref.set(updatedAt, now);
      yield* background.run("updating the cache of models", update(session, hasView));
    });
    yield* Effect.repeat(look, Schedule.spaced(LOOK_EVERY));
  });

  return { copy, watch };
});

/** Copies models that jobs use to the container's disk, if the user wants it, and makes jobs read the copies. */
export class LocalModels extends Context.Service<
  LocalModels,
  {
    /**
     * Changes of the variables of jobs for a place; none if models are not copied. The first call for a volume starts
     * the work in the background.
     */
    readonly variables: (place: Place, variables: Variables) => Effect.Effect<Variables>;
  }
>()("worker-tetra/workspace/models/LocalModels") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const volume = yield* VolumeProcess;
      const limit = yield* LOCAL_MODELS.value;
      const endpoint = yield* ENDPOINT_ID.value;
      const cache = yield* writableCache;
      const scope = yield* Effect.scope;
      const { copy, watch } = yield* makeWork;
      const isStarted = yield* Ref.make(false);

      /** None if no model is hot: then jobs use the hub cache itself. */
      const openView = Effect.fnUntraced(function* (session: Session) {
        const hot = yield* readHotModels(files, session.file);
        if (hot.length === 0) return Option.none<string>();
        const args = { ...session.folders, hot, limit: session.limit };
        const options = { deadline: OPEN_DEADLINE };
        return Option.some(yield* volume.request("models.open", args, Schema.String, options));
      });

      const start = Effect.fn("LocalModels.start")(
        function* (session: Session, variables: Variables) {
          yield* files.makeDirectory(session.records, { recursive: true });
          const view = yield* openView(session);
          if (!(yield* Ref.getAndSet(isStarted, true))) {
            if (Option.isSome(view)) yield* copy(session);
            yield* Effect.forkIn(watch(session, Option.isSome(view)), scope);
          }
          const names = HUB_VARIABLES.filter((name) => name in variables);
          return {
            [MODEL_USE]: session.records,
            ...Option.match(view, {
              onNone: () => ({}),
              onSome: (path) => Object.fromEntries(names.map((name) => [name, path])),
            }),
          };
        },
        Effect.catch((error) =>
          Effect.as(
            Effect.logWarning(`Models are used from the network volume: ${error.message}`),
            {},
          ),
        ),
      );

      return LocalModels.of({
        variables: (place, variables) => {
          const folders = modelFolders(cache, place);
          // The user's own cache folder is not changed.
          const isOurs = variables["HF_HUB_CACHE"] === folders.hub;
          if (Option.isNone(limit) || !isOurs || !volume.contains(folders.hub)) {
            return Effect.succeed({});
          }
          const session: Session = {
            folders,
            file: join(place.caches, ".hf-cache", "hot-models", `${endpoint}.json`),
            records: join(folders.local, "used", endpoint),
            limit: Number(limit.value),
          };
          return start(session, variables);
        },
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([safeFileSystem, VolumeProcess.layer, BackgroundWork.layer]),
  );
}
