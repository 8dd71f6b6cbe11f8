import { brotliDecompress, gunzip, inflate } from "node:zlib";

import { Context, Effect, Result, Schema, Stream } from "effect";
import type { HttpClientResponse } from "effect/http";

import { type JsonLimits, parseJson } from "../../domain/JsonLimits.ts";
import { codeOf } from "../../platform/ErrorCode.ts";

/** The limit of a body as sent, and decompressed. RunPod's documented maximum is 20 MB. */
const MAX_BYTES = 64 * 1024 * 1024;

/** The most bytes of a body; tests have a lower limit. */
export const MaxResponseSize = Context.Reference<number>("worker-tetra/cli/MaxResponseSize", {
  defaultValue: () => MAX_BYTES,
});

/** An answer may have a result of many parts; a program that waits for it may take some seconds to read it. */
const LIMITS: JsonLimits = { depth: 100, keys: 500_000, items: 1_000_000, numbers: 5_000_000 };

const tooLarge = (limit: number) =>
  unusable(
    `it is larger than ${limit / 1024 / 1024} MiB. Let the job write large results to the volume or a bucket and return their location`,
  );

/** A body that is too large, too complex, or not what its headers say. */
class BodyUnusable extends Schema.TaggedError<BodyUnusable>()("BodyUnusable", {
  reason: Schema.String,
}) {}

const unusable = (reason: string) => new BodyUnusable({ reason });

type Decompress = (
  bytes: Buffer,
  options: { readonly maxOutputLength: number },
  callback: (error: Error | null, result: Buffer) => void,
) => void;

const DECOMPRESSORS: ReadonlyMap<string, Decompress> = new Map<string, Decompress>([
  ["gzip", gunzip],
  ["x-gzip", gunzip],
  ["deflate", inflate],
  ["br", brotliDecompress],
]);

const decompressed = (bytes: Buffer, encoding: string, maxOutputLength: number) => {
  if (encoding === "" || encoding === "identity") return Effect.succeed(bytes);
  const decompress = DECOMPRESSORS.get(encoding);
  if (decompress === undefined) return Effect.fail(unusable("it is compressed in an unknown way"));
  return Effect.callback<Buffer, BodyUnusable>((resume) => {
    decompress(bytes, { maxOutputLength }, (error, result) => {
      if (error === null) return resume(Effect.succeed(result));
      const isTooLarge = codeOf(error) === "ERR_BUFFER_TOO_LARGE";
      resume(
        Effect.fail(isTooLarge ? tooLarge(maxOutputLength) : unusable("it can't be decompressed")),
      );
    });
  });
};

/** The JSON in the body of a response. No more than the limits is ever held in memory. */
export const jsonBody = Effect.fnUntraced(function* ({
  headers,
  stream,
}: HttpClientResponse.HttpClientResponse) {
  const limit = yield* MaxResponseSize;
  if (Number(headers["content-length"] ?? 0) > limit) return yield* tooLarge(limit);
  const parts: Array<Uint8Array> = [];
  let size = 0;
  yield* Stream.runForEach(stream, (part) => {
    size += part.byteLength;
    parts.push(part);
    return size > limit ? Effect.fail(tooLarge(limit)) : Effect.void;
  });
  const encoding = (headers["content-encoding"] ?? "").trim().toLowerCase();
  const bytes = yield* decompressed(Buffer.concat(parts), encoding, limit);
  return yield* Effect.fromResult(
    Result.mapError(parseJson(bytes, LIMITS), ({ message }) => unusable(message)),
  );
});
