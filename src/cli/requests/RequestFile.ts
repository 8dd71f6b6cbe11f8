import { Console, Effect, FileSystem, Predicate, Result, Schema, Stdio, Stream } from "effect";

import { inputOf, inputTextOf } from "../../domain/Job.ts";
import { elementsOf, parseJson } from "../../domain/JsonLimits.ts";
import { Expectation } from "./Expectation.ts";

/** A request file is invalid; none of its requests was run. */
export class RequestFileInvalid extends Schema.TaggedError<RequestFileInvalid>()(
  "RequestFileInvalid",
  { path: Schema.String, reason: Schema.String },
) {
  override get message(): string {
    return `${this.path}: ${this.reason}`;
  }
}

export interface FileRequest {
  /** The file, and the number of the request if the file has several. */
  readonly label: string;
  readonly input: unknown;
  /** The JSON text of `input`. */
  readonly inputText?: Uint8Array;
  readonly expectation: Expectation | undefined;
}

const decodeExpectation = Schema.decodeUnknownEffect(
  Schema.Struct({ expect: Schema.optionalKey(Expectation) }),
);

/** Whether an argument is a request itself, not the path of a file. */
const isRequest = (argument: string): boolean => argument.trimStart().startsWith("{");

const readText = (path: string) =>
  Effect.gen(function* () {
    if (isRequest(path)) return path;
    if (path === "-") {
      const { stdin } = yield* Stdio.Stdio;
      return yield* Stream.mkString(Stream.decodeText(stdin));
    }
    const files = yield* FileSystem.FileSystem;
    return yield* files.readFileString(path);
  }).pipe(
    Effect.mapError(
      (error) =>
        new RequestFileInvalid({
          path,
          reason:
            error.reason._tag === "NotFound"
              ? "file not found"
              : `can't be read (${error.message})`,
        }),
    ),
  );

const requestOf = Effect.fnUntraced(function* (
  label: string,
  document: unknown,
  text: Uint8Array | undefined,
): Effect.fn.Return<FileRequest, RequestFileInvalid> {
  if (!Predicate.isObject(document)) {
    return yield* new RequestFileInvalid({
      path: label,
      reason: 'not a request: expected an object such as {"input": {"function_name": …}}',
    });
  }
  const { expect } = yield* Effect.mapError(
    decodeExpectation(document),
    (error) => new RequestFileInvalid({ path: label, reason: `"expect": ${error.message}` }),
  );
  return {
    label,
    input: inputOf(document),
    ...(text === undefined ? {} : { inputText: inputTextOf(text) }),
    expectation: expect,
  };
});

/**
 * The requests in a file: `{"input": …}`, a bare request, or a list of either. `-` reads standard input.
 */
const read = Effect.fn("RequestFile.read")(function* (
  path: string,
): Effect.fn.Return<
  ReadonlyArray<FileRequest>,
  RequestFileInvalid,
  FileSystem.FileSystem | Stdio.Stdio
> {
  const bytes = Buffer.from(yield* readText(path));
  const json = Result.mapError(
    parseJson(bytes),
    (error) =>
      new RequestFileInvalid({
        path,
        reason: error._tag === "JsonInvalid" ? `invalid JSON (${error.reason})` : error.message,
      }),
  );
  const document = yield* Effect.fromResult(json);
  const documents: ReadonlyArray<unknown> = Array.isArray(document) ? document : [document];
  const texts = elementsOf(bytes);
  return yield* Effect.forEach(documents, (one, index) =>
    requestOf(
      documents.length === 1 ? path : `${path} (${index + 1} of ${documents.length})`,
      one,
      texts[index],
    ),
  );
});

/** Calls `act` with each request of the files, in order. Reports invalid files and returns their number. */
export const forEachRequest = Effect.fnUntraced(function* <E, R>(
  paths: ReadonlyArray<string>,
  act: (request: FileRequest) => Effect.Effect<unknown, E, R>,
) {
  let invalidFiles = 0;
  for (const path of paths) {
    const requests = yield* Effect.result(read(path));
    if (requests._tag === "Failure") {
      yield* Console.error(requests.failure.message);
      invalidFiles += 1;
      continue;
    }
    yield* Effect.forEach(requests.success, act, { discard: true });
  }
  return invalidFiles;
});
