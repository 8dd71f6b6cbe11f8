import { Effect } from "effect";

import {
  type FunctionRequest,
  RequestInvalid,
  type SerializationFormat,
} from "../domain/FunctionRequest.ts";

/** Between arguments that are larger, other fibers run. */
const LARGE_BYTES = 1024 * 1024;

/** A character that base64 does not contain, except its padding. */
const NOT_BASE64 = /[^\w+/-]/;

/** Node also decodes invalid base64. A search for the first invalid character is four times as fast as a full match. */
const isBase64 = (text: string): boolean => {
  const end = text.search(NOT_BASE64);
  return end === -1 || /^={1,2}$/.test(text.slice(end));
};

/** The number of bytes that a base64 text decodes to. */
const decodedLength = (text: string): number => {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  return Math.floor(((text.length - padding) * 3) / 4);
};

const encodeArgument = (
  format: SerializationFormat,
  field: string,
  value: unknown,
): Effect.Effect<Buffer, RequestInvalid> => {
  if (format === "json") return Effect.succeed(Buffer.from(JSON.stringify(value)));
  if (typeof value === "string" && isBase64(value)) {
    const bytes = Buffer.from(value, "base64");
    // Node ignores invalid characters, so fewer bytes mean that the text is invalid.
    if (bytes.byteLength > 0 && bytes.byteLength === decodedLength(value)) {
      return Effect.succeed(bytes);
    }
  }
  return Effect.fail(
    new RequestInvalid({
      field,
      expected:
        'expected base64 of a cloudpickle. For plain values set serialization_format to "json"',
    }),
  );
};

/**
 * The arguments of a request as pickles or JSON texts, in the order of `CallMeta`: positional and keyword arguments,
 * then those of the constructor.
 */
export const payloads = (
  request: FunctionRequest,
): Effect.Effect<ReadonlyArray<Buffer>, RequestInvalid> => {
  const all: Array<readonly [field: string, value: unknown]> = [
    ...request.args.map((value, index) => [`args[${index}]`, value] as const),
    ...Object.entries(request.kwargs).map(([name, value]) => [`kwargs.${name}`, value] as const),
  ];
  if (request.kind === "class") {
    request.constructorArgs.forEach((value, index) =>
      all.push([`constructor_args[${index}]`, value]),
    );
    for (const [name, value] of Object.entries(request.constructorKwargs)) {
      all.push([`constructor_kwargs.${name}`, value]);
    }
  }
  return Effect.forEach(all, ([field, value]) =>
    Effect.tap(encodeArgument(request.format, field, value), ({ byteLength }) =>
      byteLength > LARGE_BYTES ? Effect.yieldNow : Effect.void,
    ),
  );
};
