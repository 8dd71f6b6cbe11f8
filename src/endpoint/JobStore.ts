import { Context, Effect, FileSystem, Layer, Option, Path, Schema } from "effect";

import { JobRequest, JobStatus } from "../protocol/EndpointJob.ts";

/** A job of a local queue as it is kept; times are milliseconds since 1970. */
export const KeptJob = Schema.Struct({
  id: Schema.String,
  request: JobRequest,
  submitted: Schema.Finite,
  status: JobStatus,
  started: Schema.optionalKey(Schema.Finite),
  ended: Schema.optionalKey(Schema.Finite),
  retries: Schema.Int,
  output: Schema.optionalKey(Schema.Json),
  error: Schema.optionalKey(Schema.Json),
});
export type KeptJob = typeof KeptJob.Type;

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(KeptJob));

const PRIVATE_FILE = 0o600;
const PRIVATE_FOLDER = 0o700;

/** Where a local queue keeps its jobs over a restart. */
export class JobStore extends Context.Service<
  JobStore,
  {
    readonly save: (job: KeptJob) => Effect.Effect<void>;
    readonly remove: (id: string) => Effect.Effect<void>;
    /** What an earlier process left, oldest first. */
    readonly kept: Effect.Effect<ReadonlyArray<KeptJob>>;
  }
>()("worker-tetra/endpoint/JobStore") {
  /** The queue ends with its process. */
  static readonly layerNone = Layer.succeed(this, {
    save: () => Effect.void,
    remove: () => Effect.void,
    kept: Effect.succeed([]),
  });

  /** A file for each job in a folder, readable by its owner alone. A disk that fails costs the copy, not the job. */
  static readonly layerFolder = (folder: string) =>
    Layer.effect(
      this,
      Effect.gen(function* () {
        const files = yield* FileSystem.FileSystem;
        const path = yield* Path.Path;
        const fileOf = (id: string) => path.join(folder, `${id}.json`);

        const save = Effect.fnUntraced(
          function* (job: KeptJob) {
            const file = fileOf(job.id);
            yield* files.makeDirectory(folder, { recursive: true, mode: PRIVATE_FOLDER });
            yield* files.writeFileString(`${file}.new`, JSON.stringify(job), {
              mode: PRIVATE_FILE,
            });
            yield* files.rename(`${file}.new`, file);
          },
          Effect.catch((error) =>
            Effect.logWarning(`A job could not be kept over a restart: ${error.message}`),
          ),
        );

        const kept = Effect.gen(function* () {
          const names = yield* Effect.orElseSucceed(files.readDirectory(folder), () => []);
          const found: Array<KeptJob> = [];
          for (const name of names.filter((one) => one.endsWith(".json"))) {
            const file = path.join(folder, name);
            const job = Option.flatMap(yield* Effect.option(files.readFileString(file)), decode);
            if (Option.isSome(job)) found.push(job.value);
            else yield* Effect.logWarning(`${file} is no job and is left alone`);
          }
          return found.toSorted((a, b) => a.submitted - b.submitted);
        });

        return JobStore.of({
          save,
          remove: (id) => Effect.ignore(files.remove(fileOf(id))),
          kept,
        });
      }),
    );
}
