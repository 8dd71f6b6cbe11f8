import { Bytes, Global, PickledCall, Text, type Value } from "../pickle/PickleValue.ts";

/** The part of the repr writer that notations use. */
export interface Output {
  readonly isFull: boolean;
  readonly put: (text: string) => void;
  readonly name: (text: string) => void;
  readonly value: (value: Value) => void;
  readonly list: <A>(items: Iterable<A>, each: (item: A) => void) => void;
}

/** Writes a value in its type's notation; returns false and writes nothing if the value is not one of that type. */
export type Notation = (output: Output, pickledCall: PickledCall) => boolean;

export const textOf = (value: Value | undefined): string | undefined =>
  value instanceof Text ? value.bytes.toString("utf8", 0, 4096) : undefined;

/** Bytes of this length. Up to protocol 2, they are pickled as a string and the name of its encoding. */
export const bytesOf = (value: Value | undefined, size: number): Buffer | undefined => {
  const bytes = value instanceof PickledCall ? encodedBytes(value) : value;
  return bytes instanceof Bytes && bytes.bytes.length === size ? bytes.bytes : undefined;
};

export const encodedBytes = ({ callee, args: [text, encoding] }: PickledCall): Bytes | undefined =>
  callee instanceof Global &&
  `${callee.module}.${callee.name}` === "_codecs.encode" &&
  text instanceof Text &&
  textOf(encoding) === "latin1"
    ? new Bytes(Buffer.from(text.bytes.toString(), "latin1"), false)
    : undefined;

export const numberOf = (value: Value | undefined): number | undefined =>
  typeof value === "number" ? value : undefined;
