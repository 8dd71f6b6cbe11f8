import { Console, Effect, FileSystem, Predicate, Result, Schema, Stdio, Stream } from "effect";

import { inputOf } from "../../domain/Job.ts";
import { parseJson } from "../../domain/JsonLimits.ts";
import { Expectation } from "./Expectation.ts";

/** A file without a valid request; none of its requests was run. */
export class RequestFileUnusable extends Schema.TaggedError<RequestFileUnusable>()(
  "RequestFileUnusable",
  { path: Schema.String, reason: Schema.String },
) {
  override get message(): string {
    return `${this.path}: ${this.reason}`;
  }
}

/** One request of a file. */
export interface FileRequest {
  /** The file, with the number of the request in it where there are several. */
  readonly label: string;
  readonly input: unknown;
  readonly expectation: Expectation | undefined;
}

const decodeExpectation = Schema.decodeUnknownEffect(
  Schema.Struct({ expect: Schema.optionalKey(Expectation) }),
);

const readText = (path: string) =>
  Effect.gen(function* () {
    if (path === "-") {
      const { stdin } = yield* Stdio.Stdio;
      return yield* Stream.mkString(Stream.decodeText(stdin));
    }
    const files = yield* FileSystem.FileSystem;
    return yield* files.readFileString(path);
  }).pipe(
    Effect.mapError(
      (error) =>
        new RequestFileUnusable({
          path,
          reason:
            error.reason._tag === "NotFound"
              ? "there is no such file"
              : `can't be read (${error.message})`,
        }),
    ),
  );

/**
 * The requests in a file: `{"input": …}`, a bare request, or a list of them that is run in order. `-` is
 * standard input.
 */
const read = Effect.fn("RequestFile.read")(function* (
  path: string,
): Effect.fn.Return<
  ReadonlyArray<FileRequest>,
  RequestFileUnusable,
  FileSystem.FileSystem | Stdio.Stdio
> {
  const text = yield* readText(path);
  const json = Result.mapError(
    parseJson(Buffer.from(text)),
    (error) =>
      new RequestFileUnusable({
        path,
        reason: error._tag === "JsonInvalid" ? `is not JSON (${error.reason})` : error.message,
      }),
  );
  const document = yield* Effect.fromResult(json);
  const documents: ReadonlyArray<unknown> = Array.isArray(document) ? document : [document];
  return yield* Effect.forEach(documents, (one, index) =>
    Effect.gen(function* () {
      const label = documents.length === 1 ? path : `${path} (${index + 1} of ${documents.length})`;
      if (!Predicate.isObject(one)) {
        return yield* new RequestFileUnusable({
          path: label,
          reason: 'holds no request: expected an object such as {"input": {"function_name": …}}',
        });
      }
      const { expect } = yield* Effect.mapError(
        decodeExpectation(one),
        (error) => new RequestFileUnusable({ path: label, reason: `"expect": ${error.message}` }),
      );
      return { label, input: inputOf(one), expectation: expect };
    }),
  );
});

/** Calls `act` with each request of the files, in order. Reports unusable files, and returns their number. */
export const forEachRequest = Effect.fnUntraced(function* <E, R>(
  paths: ReadonlyArray<string>,
  act: (request: FileRequest) => Effect.Effect<unknown, E, R>,
) {
  let unusable = 0;
  for (const path of paths) {
    const requests = yield* Effect.result(read(path));
    if (requests._tag === "Failure") {
      yield* Console.error(requests.failure.message);
      unusable += 1;
      continue;
    }
    yield* Effect.forEach(requests.success, act, { discard: true });
  }
  return unusable;
});
