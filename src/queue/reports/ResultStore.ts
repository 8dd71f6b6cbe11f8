import { createHash } from "node:crypto";

import { Context, Effect, FileSystem, Layer, Option, Path, Schema } from "effect";

import { replaceFile } from "../../platform/files/AtomicFile.ts";
import { diskFault } from "../../platform/files/DiskFault.ts";
import * as Setting from "../../settings/Setting.ts";
import type { JobResult } from "./JobResult.ts";

const RESULT_STORE = Setting.optionalText({
  name: "WORKER_RESULT_STORE",
  doc: "Folder for results that could not be delivered. The next worker that starts with this folder sends them again. The files contain the results, so keep the folder private.",
  expected: "a path",
  fallback: "none: undelivered results are lost",
});

/** The maximum bytes of all results in the store. */
const MAX_BYTES = 1024 * 1024 * 1024;

const NEWLINE = 0x0a;

const PRIVATE_FILE = 0o600;
const PRIVATE_FOLDER = 0o700;

/** The first line of the file of a result; the body as it is sent follows. */
const decodeHeader = Schema.decodeUnknownOption(
  Schema.fromJsonString(Schema.Struct({ jobId: Schema.String, isStream: Schema.Boolean })),
);

/** A store in a folder, which is created for the first result. */
const storeIn = Effect.fnUntraced(function* (folder: string) {
  const files = yield* FileSystem.FileSystem;
  const path = yield* Path.Path;

  const fileOf = (jobId: string) =>
    path.join(folder, `${createHash("sha256").update(jobId).digest("hex")}.result`);

  const paths = Effect.map(files.readDirectory(folder), (names) =>
    names.filter((name) => name.endsWith(".result")).map((name) => path.join(folder, name)),
  );

  const keep = Effect.fn("ResultStore.keep")(
    function* ({ jobId, isStream, body }: JobResult) {
      yield* files.makeDirectory(folder, { recursive: true, mode: PRIVATE_FOLDER });
      let size = body.length;
      for (const file of yield* paths) size += Number((yield* files.lstat(file)).size);
      if (size > MAX_BYTES) {
        yield* Effect.logWarning(`${folder} is full: the limit is 1 GB of results`);
        return false;
      }
      const file = fileOf(jobId);
      const header = Buffer.from(`${JSON.stringify({ jobId, isStream })}\n`);
      yield* replaceFile(files, file, Buffer.concat([header, body]), PRIVATE_FILE);
      return true;
    },
    Effect.catch((error) =>
      Effect.as(Effect.logError(diskFault(folder, "can't store a result")(error).message), false),
    ),
  );

  /** Reading a pipe would block, and the target of a symbolic link may be any file. */
  const readResult = Effect.fnUntraced(function* (file: string) {
    const { type, size } = yield* files.lstat(file);
    if (type !== "File" || Number(size) > MAX_BYTES) return new Uint8Array();
    return yield* files.readFile(file);
  });

  /** Loads a result and removes its file; it is stored again if its delivery fails again. */
  const load = Effect.fnUntraced(
    function* (file: string) {
      const content = yield* readResult(file);
      const bodyAt = content.indexOf(NEWLINE) + 1;
      const header = decodeHeader(Buffer.from(content.subarray(0, bodyAt)).toString());
      if (Option.isNone(header) || fileOf(header.value.jobId) !== file) return Option.none();
      yield* Effect.ignore(files.remove(file));
      return Option.some({ ...header.value, body: content.subarray(bodyAt) });
    },
    Effect.orElseSucceed(() => Option.none<JobResult>()),
  );

  const kept = paths.pipe(
    Effect.map((all) => all.map((file) => load(file))),
    Effect.orElseSucceed(() => []),
  );

  return { keep, kept };
});

/** Stores results that could not be delivered on disk, if WORKER_RESULT_STORE is set. */
export class ResultStore extends Context.Service<
  ResultStore,
  {
    /** Returns whether the result was stored. */
    readonly keep: (result: JobResult) => Effect.Effect<boolean>;
    /** One effect for each stored result, which loads it and removes its file; none if the file can't be read. */
    readonly kept: Effect.Effect<ReadonlyArray<Effect.Effect<Option.Option<JobResult>>>>;
  }
>()("worker-tetra/queue/reports/ResultStore") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const folder = yield* RESULT_STORE.value;
      return ResultStore.of(
        Option.isSome(folder)
          ? yield* storeIn(folder.value)
          : { keep: () => Effect.succeed(false), kept: Effect.succeed([]) },
      );
    }),
  );
}
