import { brotliDecompress, gunzip, inflate } from "node:zlib";

import { Context, Effect, Result, Schema, Stream } from "effect";
import type { HttpClientResponse } from "effect/http";

import { type JsonLimits, parseJson } from "../../domain/JsonLimits.ts";
import { codeOf } from "../../platform/ErrorCode.ts";

/** Maximum size of a body, both compressed and decompressed. RunPod's documented maximum is 20 MB. */
const MAX_BYTES = 64 * 1024 * 1024;

/** Maximum size of a body in bytes; tests set a lower limit. */
export const MaxResponseSize = Context.Reference<number>("worker-tetra/cli/MaxResponseSize", {
  defaultValue: () => MAX_BYTES,
});

/** Higher than for requests: a result may have many parts, and parsing may take some seconds. */
const LIMITS: JsonLimits = { depth: 100, keys: 500_000, items: 1_000_000, numbers: 5_000_000 };

const tooLarge = (limit: number) =>
  invalidBody(
    `larger than ${limit / 1024 / 1024} MiB. Write large results to the volume or a bucket in the job, and return their location`,
  );

/** A body is too large, too complex, or does not match its headers. */
class BodyInvalid extends Schema.TaggedError<BodyInvalid>()("BodyInvalid", {
  reason: Schema.String,
}) {}

const invalidBody = (reason: string) => new BodyInvalid({ reason });

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
  if (decompress === undefined) return Effect.fail(invalidBody("unknown compression"));
  return Effect.callback<Buffer, BodyInvalid>((resume) => {
    decompress(bytes, { maxOutputLength }, (error, result) => {
      if (error === null) return resume(Effect.succeed(result));
      const isTooLarge = codeOf(error) === "ERR_BUFFER_TOO_LARGE";
      resume(
        Effect.fail(
          isTooLarge ? tooLarge(maxOutputLength) : invalidBody("it can't be decompressed"),
        ),
      );
    });
  });
};

/** Reads the JSON body of a response. Stops reading at the size limit, so that memory stays bounded. */
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
    Result.mapError(parseJson(bytes, LIMITS), ({ message }) =>
      invalidBody(message.replace(/\.$/, "")),
    ),
  );
});
