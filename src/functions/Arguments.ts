import { Effect } from "effect";

import {
  type FunctionRequest,
  RequestInvalid,
  type SerializationFormat,
} from "../domain/FunctionRequest.ts";

const LARGE = 1024 * 1024;

/** A character that base64 does not have, except for its padding. */
const FOREIGN = /[^\w+/-]/;

/** Node reads other texts too. The first foreign character decides: to match all of 30 MB takes four times as long. */
const isBase64 = (text: string): boolean => {
  const end = text.search(FOREIGN);
  return end === -1 || /^={1,2}$/.test(text.slice(end));
};

/** The number of bytes that a base64 text of this length stands for. */
const decodedLength = (text: string): number => {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  return Math.floor(((text.length - padding) * 3) / 4);
};

const payload = (
  format: SerializationFormat,
  field: string,
  value: unknown,
): Effect.Effect<Buffer, RequestInvalid> => {
  if (format === "json") return Effect.succeed(Buffer.from(JSON.stringify(value)));
  if (typeof value === "string" && isBase64(value)) {
    const bytes = Buffer.from(value, "base64");
    // Node passes over what is not base64, so something is wrong where bytes are missing.
    if (bytes.byteLength > 0 && bytes.byteLength === decodedLength(value)) {
      return Effect.succeed(bytes);
    }
  }
  return Effect.fail(
    new RequestInvalid({
      field,
      expected:
        'expected base64 of a cloudpickle; plain values go with serialization_format "json"',
    }),
  );
};

/**
 * The arguments of a request as the bytes that the runner unpickles (or reads as JSON), in its order: positional
 * and keyword arguments, then the constructor's.
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
    Effect.tap(payload(request.format, field, value), ({ byteLength }) =>
      // Yields to other fibers between large ones.
      byteLength > LARGE ? Effect.yieldNow : Effect.void,
    ),
  );
};
