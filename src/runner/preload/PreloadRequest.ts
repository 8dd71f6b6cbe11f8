import { Effect, type FileSystem, Option, Result } from "effect";

import { decode, type FunctionRequest } from "../../domain/FunctionRequest.ts";
import { inputOf, inputTextOf } from "../../domain/Job.ts";
import { parseJson } from "../../domain/JsonLimits.ts";
import * as Setting from "../../settings/Setting.ts";
import { payloads } from "../call/Arguments.ts";

const PRELOAD = Setting.optionalText({
  name: "WORKER_PRELOAD",
  doc: "What each Python process runs before its first job, such as loading a model: a file with a request, or a function of an importable module. Jobs find its instance by the `instance_id` of the request. If it fails, jobs fail with its error.",
  expected: 'the path of a request ({"input": …}) or module:function',
  fallback: "none",
});

/** What WORKER_PRELOAD runs. */
export interface PreloadRequest {
  /** The value of the setting. */
  readonly name: string;
  readonly request: FunctionRequest;
  /** The encoded arguments. */
  readonly blobs: ReadonlyArray<Uint8Array>;
}

const FUNCTION = /^((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*):([A-Za-z_]\w*)$/;

/** A request that calls a function of a module, and ignores its value: it may be a model. */
const callOf = (module: string, name: string) => ({
  function_name: "preload",
  function_code: [
    "def preload():",
    "    import inspect",
    `    from ${module} import ${name} as function`,
    "    value = function()",
    "    async def wait():",
    "        await value",
    "    return wait() if inspect.isawaitable(value) else None",
    "",
  ].join("\n"),
  serialization_format: "json",
});

const invalid = (given: string, reason: string) =>
  new Setting.SettingInvalid({
    setting: PRELOAD.name,
    expected: `${PRELOAD.expected}. ${reason}`,
    fallback: PRELOAD.fallback,
    given,
  });

const readInput = Effect.fnUntraced(function* (files: FileSystem.FileSystem, path: string) {
  const text = yield* Effect.mapError(files.readFileString(path), (error) =>
    invalid(
      path,
      error.reason._tag === "NotFound"
        ? "The file does not exist"
        : `The file can't be read: ${error.message}`,
    ),
  );
  const bytes = Buffer.from(text);
  const document = yield* Effect.fromResult(
    Result.mapError(parseJson(bytes), (error) =>
      invalid(
        path,
        error._tag === "JsonInvalid"
          ? `The file is not valid JSON (${error.reason})`
          : error.message,
      ),
    ),
  );
  return { input: inputOf(document), text: inputTextOf(bytes) };
});

/** Reads the request of WORKER_PRELOAD, if it is set. */
export const readPreload = Effect.fnUntraced(function* (files: FileSystem.FileSystem) {
  const setting = yield* PRELOAD.value;
  if (Option.isNone(setting)) return Option.none<PreloadRequest>();
  const name = setting.value;
  const [, module, target] = FUNCTION.exec(name) ?? [];
  const { input, text } =
    module === undefined || target === undefined
      ? yield* readInput(files, name)
      : { input: callOf(module, target), text: undefined };
  return yield* decode(input).pipe(
    Effect.flatMap((request) =>
      Effect.map(payloads(request, text), (blobs) => Option.some({ name, request, blobs })),
    ),
    Effect.mapError((error) => invalid(name, `${error.message}`)),
  );
});
