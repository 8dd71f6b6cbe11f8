import { Float, Global, Items, PickledCall, type Value } from "../pickle/PickleValue.ts";
import { bytesOf, type Notation, numberOf, type Output, textOf } from "./TypeNotation.ts";

/** Reads a number of one kind and size, at most eight bytes. */
type Read = (bytes: Buffer, isLittle: boolean) => number | bigint | Float | boolean;

const integer =
  (size: number, isSigned: boolean): Read =>
  (bytes, isLittle) => {
    if (size === 8) {
      const big = isLittle
        ? isSigned
          ? bytes.readBigInt64LE()
          : bytes.readBigUInt64LE()
        : isSigned
          ? bytes.readBigInt64BE()
          : bytes.readBigUInt64BE();
      return big;
    }
    if (isSigned) return isLittle ? bytes.readIntLE(0, size) : bytes.readIntBE(0, size);
    return isLittle ? bytes.readUIntLE(0, size) : bytes.readUIntBE(0, size);
  };

/** The shortest decimal number that rounds to the same 32-bit float. */
const shortest = (value: number): number => {
  for (let digits = 1; digits < 9; digits += 1) {
    const rounded = Number(value.toPrecision(digits));
    if (Math.fround(rounded) === value) return rounded;
  }
  return value;
};

const READERS: ReadonlyMap<string, Read> = new Map<string, Read>([
  ["b1", (bytes) => bytes[0] !== 0],
  ["f8", (bytes, isLittle) => new Float(isLittle ? bytes.readDoubleLE() : bytes.readDoubleBE())],
  [
    "f4",
    (bytes, isLittle) => new Float(shortest(isLittle ? bytes.readFloatLE() : bytes.readFloatBE())),
  ],
  ...[1, 2, 4, 8].flatMap((size): ReadonlyArray<[string, Read]> => [
    [`i${size}`, integer(size, true)],
    [`u${size}`, integer(size, false)],
  ]),
]);

const KINDS: Readonly<Record<string, string>> = { f: "float", i: "int", u: "uint", c: "complex" };

interface DataType {
  /** NumPy's name. */
  readonly name: string;
  readonly size: number;
  readonly read: ((bytes: Buffer) => number | bigint | Float | boolean) | undefined;
}

const dataTypeOf = (value: Value | undefined): DataType | undefined => {
  if (!(value instanceof PickledCall && value.callee instanceof Global)) return undefined;
  const code = textOf(value.args[0]);
  if (value.callee.name !== "dtype" || code === undefined) return undefined;
  const order = value.state instanceof Items ? textOf(value.state.items[1]) : undefined;
  const [, kind = "", digits = ""] = /^([a-zA-Z])(\d{1,9})$/.exec(code) ?? [];
  const name = KINDS[kind] === undefined ? code : `${KINDS[kind]}${Number(digits) * 8}`;
  const read = READERS.get(code);
  return {
    name: code === "b1" ? "bool" : name,
    size: Number(digits),
    read: read === undefined ? undefined : (bytes) => read(bytes, order !== ">"),
  };
};

/** Deeper arrays are shown without their values. */
const MAX_DIMENSIONS = 16;

/** Writes the values of an array in C order, one list for each dimension. */
const values = (output: Output, shape: ReadonlyArray<number>, next: () => Value) => {
  const write = (axis: number) => {
    const size = shape[axis];
    if (size === undefined) return output.value(next());
    output.put("[");
    for (let at = 0; at < size && !output.isFull; at += 1) {
      if (at > 0) output.put(", ");
      write(axis + 1);
    }
    output.put("]");
  };
  write(0);
};

const array = (
  output: Output,
  shape: Value | undefined,
  type: Value | undefined,
  data: Value | undefined,
  isFortran: boolean,
): boolean => {
  const dataType = dataTypeOf(type);
  if (!(shape instanceof Items) || dataType === undefined) return false;
  const sizes = shape.items.map((size) => numberOf(size) ?? -1);
  const total = sizes.reduce((product, size) => product * size, 1);
  const { read, size, name } = dataType;
  const bytes = sizes.every((one) => one >= 0) ? bytesOf(data, total * size) : undefined;
  output.put("array(");
  if (
    read !== undefined &&
    bytes !== undefined &&
    sizes.length <= MAX_DIMENSIONS &&
    !(isFortran && sizes.length > 1)
  ) {
    let at = 0;
    values(output, sizes, () => {
      at += size;
      return read(bytes.subarray(at - size, at));
    });
    output.put(", ");
  }
  output.put("shape=");
  output.value(shape);
  output.put(", dtype=");
  output.name(name);
  output.put(")");
  return true;
};

/** Arrays up to protocol 4, and all that are not contiguous: their parts are in the state. */
export const reconstructed: Notation = (output, { state }) => {
  if (!(state instanceof Items)) return false;
  const [, shape, type, isFortran, data] = state.items;
  return array(output, shape, type, data, isFortran === true);
};

export const fromBuffer: Notation = (output, { args: [data, type, shape, order] }) =>
  array(output, shape, type, data, textOf(order) === "F");

export const scalar: Notation = (output, { args: [type, data] }) => {
  const dataType = dataTypeOf(type);
  const bytes = bytesOf(data, dataType?.size ?? 0);
  if (dataType?.read === undefined || bytes === undefined) return false;
  output.put("np.");
  output.name(`${dataType.name}(`);
  output.value(dataType.read(bytes));
  output.put(")");
  return true;
};

export const dtype: Notation = (output, pickledCall) => {
  const dataType = dataTypeOf(pickledCall);
  if (dataType === undefined) return false;
  output.name(`dtype('${dataType.name}')`);
  return true;
};

export const tensor: Notation = (output, { args: [, , shape] }) => {
  if (!(shape instanceof Items)) return false;
  output.put("tensor(shape=");
  output.value(shape);
  output.put(")");
  return true;
};
