import { dirname } from "node:path";

import { Duration, Effect, type FileSystem, Schema } from "effect";

import { replaceFile } from "../../platform/files/AtomicFile.ts";
import { readSmallFile } from "../../platform/files/SmallFile.ts";
import { wallMillis } from "../../settings/SteadyClock.ts";

/** Names of folders: other endpoints can write to the file. */
const REPOSITORY = /^(?:models|datasets|spaces)--[\w.-]+$/;
const REVISION = /^(?!\.)[\w.-]+$/;

/** A snapshot of a model that jobs of an endpoint have used. */
const HotModel = Schema.Struct({
  /** The folder of the repository in a hub cache, such as `models--org--name`. */
  name: Schema.String.check(Schema.isPattern(REPOSITORY)),
  revision: Schema.String.check(Schema.isPattern(REVISION)),
  /** The last use, in milliseconds of Unix time. */
  usedAt: Schema.Finite,
});
export type HotModel = typeof HotModel.Type;

const Content = Schema.fromJsonString(Schema.Struct({ models: Schema.Array(HotModel) }));
const decode = Schema.decodeUnknownEffect(Content);
const encode = Schema.encodeEffect(Content);

const MAX_HOT = 16;

/** A model that was not used for this time is not hot any more. */
const HOT_FOR = Duration.days(30);

/** A use is not recorded again before this time has passed. */
const RECORD_AFTER = Duration.days(1);

const isSame = (one: HotModel, other: Omit<HotModel, "usedAt">): boolean =>
  one.name === other.name && one.revision === other.revision;

/** The models that jobs of an endpoint have used lately, newest first. Empty if the file can't be read. */
export const readHotModels = Effect.fnUntraced(
  function* (files: FileSystem.FileSystem, file: string) {
    const { models } = yield* decode(yield* readSmallFile(files, file));
    const now = yield* wallMillis;
    return models.filter(({ usedAt }) => now - usedAt < Duration.toMillis(HOT_FOR));
  },
  Effect.orElseSucceed((): ReadonlyArray<HotModel> => []),
);

/** The snapshot in a record of the runner, named `<repository>@<revision>`. */
const parseRecord = (record: string): ReadonlyArray<Omit<HotModel, "usedAt">> => {
  const [name = "", revision = "", ...rest] = record.split("@");
  return rest.length === 0 && REPOSITORY.test(name) && REVISION.test(revision)
    ? [{ name, revision }]
    : [];
};

/**
 * Adds the snapshots in records of the runner to the file. Of two workers that do so at once, one may lose its records:
 * the next use of the model repeats them.
 */
export const recordHotModels = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  file: string,
  records: ReadonlyArray<string>,
) {
  const known = yield* readHotModels(files, file);
  const usedAt = yield* wallMillis;
  const isRecorded = (used: Omit<HotModel, "usedAt">) =>
    known.some(
      (model) => isSame(model, used) && usedAt - model.usedAt < Duration.toMillis(RECORD_AFTER),
    );
  const used = records
    .flatMap(parseRecord)
    .filter((model) => !isRecorded(model))
    .map(({ name, revision }) => ({ name, revision, usedAt }));
  if (used.length === 0) return;
  const others = known.filter((model) => !used.some((one) => isSame(model, one)));
  const models = [...used, ...others].slice(0, MAX_HOT);
  yield* files.makeDirectory(dirname(file), { recursive: true });
  yield* replaceFile(files, file, yield* encode({ models }));
});
