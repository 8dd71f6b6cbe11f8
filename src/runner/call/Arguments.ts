import { Effect } from "effect";

import {
  type FunctionRequest,
  RequestInvalid,
  type SerializationFormat,
} from "../../domain/FunctionRequest.ts";
import { elementsOf, memberTexts } from "../../domain/JsonLimits.ts";

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

/** An argument as the client sent it. */
interface Argument {
  readonly field: string;
  readonly value: unknown;
  /** Its JSON text. */
  readonly text: Uint8Array | undefined;
}

const bufferOf = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);

const encodeArgument = (
  format: SerializationFormat,
  { field, value, text }: Argument,
): Effect.Effect<Buffer, RequestInvalid> => {
  if (format === "json") {
    return Effect.succeed(text === undefined ? Buffer.from(JSON.stringify(value)) : bufferOf(text));
  }
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

type ArgumentsField = "args" | "kwargs" | "constructor_args" | "constructor_kwargs";

const FIELDS: ReadonlyArray<ArgumentsField> = [
  "args",
  "kwargs",
  "constructor_args",
  "constructor_kwargs",
];

type Texts = ReadonlyMap<string, Uint8Array>;

const positional = (
  field: ArgumentsField,
  values: ReadonlyArray<unknown>,
  texts: Texts,
): ReadonlyArray<Argument> => {
  const text = texts.get(field);
  const elements = text === undefined ? [] : elementsOf(text, values.length);
  return values.map((value, index) => ({
    field: `${field}[${index}]`,
    value,
    text: elements[index],
  }));
};

const named = (
  field: ArgumentsField,
  values: Readonly<Record<string, unknown>>,
  texts: Texts,
): ReadonlyArray<Argument> => {
  const text = texts.get(field);
  const members = text === undefined ? undefined : memberTexts(text, Object.keys(values));
  return Object.entries(values).map(([name, value]) => ({
    field: `${field}.${name}`,
    value,
    text: members?.get(name),
  }));
};

/**
 * The arguments of a request as pickles or JSON texts, in the order of `CallMeta`: positional and keyword arguments,
 * then those of the constructor. JSON texts are those of the client if the text of the request is known.
 */
export const payloads = (
  request: FunctionRequest,
  text?: Uint8Array,
): Effect.Effect<ReadonlyArray<Buffer>, RequestInvalid> => {
  const texts: Texts =
    text === undefined || request.format !== "json" ? new Map() : memberTexts(text, FIELDS);
  const all = [
    ...positional("args", request.args, texts),
    ...named("kwargs", request.kwargs, texts),
    ...(request.kind === "class"
      ? [
          ...positional("constructor_args", request.constructorArgs, texts),
          ...named("constructor_kwargs", request.constructorKwargs, texts),
        ]
      : []),
  ];
  return Effect.forEach(all, (argument) =>
    Effect.tap(encodeArgument(request.format, argument), ({ byteLength }) =>
      byteLength > LARGE_BYTES ? Effect.yieldNow : Effect.void,
    ),
  );
};
