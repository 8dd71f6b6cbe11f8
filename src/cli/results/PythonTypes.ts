import { Bytes, Dict, Float, Global, Items, Made, Text, type Value } from "./Pickle.ts";

/** The part of the repr writer that the notations of types use. */
interface Output {
  readonly isFull: boolean;
  readonly put: (text: string) => void;
  readonly name: (text: string) => void;
  readonly value: (value: Value) => void;
  readonly list: <A>(items: Iterable<A>, each: (item: A) => void) => void;
}

/** Writes a value in its type's notation; returns false and writes nothing if the value is not one of that type. */
type Notation = (output: Output, made: Made) => boolean;

/** Types of the standard library whose repr has no module. */
export const BARE_TYPES: ReadonlySet<string> = new Set([
  "collections.OrderedDict",
  "collections.defaultdict",
  "collections.Counter",
  "decimal.Decimal",
  "fractions.Fraction",
]);

const textOf = (value: Value | undefined): string | undefined =>
  value instanceof Text ? value.bytes.toString("utf8", 0, 4096) : undefined;

/** Bytes of this length; up to protocol 2, pickles have a text and the name of its encoding instead. */
const bytesOf = (value: Value | undefined, size: number): Buffer | undefined => {
  const bytes = value instanceof Made ? encodedBytes(value) : value;
  return bytes instanceof Bytes && bytes.bytes.length === size ? bytes.bytes : undefined;
};

const encodedBytes = ({ callee, args: [text, encoding] }: Made): Bytes | undefined =>
  callee instanceof Global &&
  `${callee.module}.${callee.name}` === "_codecs.encode" &&
  text instanceof Text &&
  textOf(encoding) === "latin1"
    ? new Bytes(Buffer.from(text.bytes.toString(), "latin1"), false)
    : undefined;

const numberOf = (value: Value | undefined): number | undefined =>
  typeof value === "number" ? value : undefined;

/** Hour, minute, second and microsecond; trailing zeros of the last two are left out. */
const clockOf = (bytes: Buffer): ReadonlyArray<number> => {
  const [hour = 0, minute = 0, second = 0] = bytes;
  const micro = bytes.readUIntBE(3, 3);
  if (micro > 0) return [hour, minute, second, micro];
  return second > 0 ? [hour, minute, second] : [hour, minute];
};

const withZone = (output: Output, zone: Value | undefined) => {
  if (zone === undefined || zone === null) return;
  output.put(", tzinfo=");
  output.value(zone);
};

const datetime: Notation = (output, { args: [state, zone] }) => {
  const bytes = bytesOf(state, 10);
  if (bytes === undefined) return false;
  // The highest bit of the month is `fold`.
  const date = [bytes.readUInt16BE(), (bytes[2] ?? 0) & 0x7f, bytes[3] ?? 0];
  output.put(`datetime.datetime(${[...date, ...clockOf(bytes.subarray(4))].join(", ")}`);
  withZone(output, zone);
  output.put(")");
  return true;
};

const date: Notation = (output, { args: [state] }) => {
  const bytes = bytesOf(state, 4);
  if (bytes === undefined) return false;
  output.put(`datetime.date(${bytes.readUInt16BE()}, ${bytes[2]}, ${bytes[3]})`);
  return true;
};

const time: Notation = (output, { args: [state, zone] }) => {
  const bytes = bytesOf(state, 6);
  if (bytes === undefined) return false;
  const [hour = 0, ...rest] = clockOf(bytes);
  output.put(`datetime.time(${[hour & 0x7f, ...rest].join(", ")}`);
  withZone(output, zone);
  output.put(")");
  return true;
};

const timedelta: Notation = (output, { args }) => {
  const parts = ["days", "seconds", "microseconds"].flatMap((name, at) => {
    const number = numberOf(args[at]);
    return number === undefined || number === 0 ? [] : [`${name}=${number}`];
  });
  output.put(`datetime.timedelta(${parts.length === 0 ? "0" : parts.join(", ")})`);
  return true;
};

const timezone: Notation = (output, { args: [offset, ...rest] }) => {
  const isUtc =
    rest.length === 0 &&
    offset instanceof Made &&
    offset.callee instanceof Global &&
    offset.callee.name === "timedelta" &&
    offset.args.every((part) => part === 0);
  if (isUtc) output.put("datetime.timezone.utc");
  return isUtc;
};

const path: Notation = (output, { callee, args }) => {
  const parts = args.map(textOf);
  if (!(callee instanceof Global) || parts.includes(undefined)) return false;
  output.put(`${callee.name}(`);
  const joined = parts.join("/").replace(/^\/\//, "/");
  output.value(new Text(Buffer.from(joined === "" ? "." : joined)));
  output.put(")");
  return true;
};

const uuid: Notation = (output, { state }) => {
  if (!(state instanceof Dict)) return false;
  const number = state.entries.find(([key]) => textOf(key) === "int")?.[1];
  if (typeof number !== "bigint" && typeof number !== "number") return false;
  const digits = BigInt.asUintN(128, BigInt(number)).toString(16).padStart(32, "0");
  output.put(`UUID('${digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")}')`);
  return true;
};

const complex: Notation = (output, { args: [real, imaginary] }) => {
  if (!(real instanceof Float && imaginary instanceof Float)) return false;
  const isImaginary = real.value === 0 && !Object.is(real.value, -0);
  const part = (value: Float) => {
    if (Number.isInteger(value.value) && Math.abs(value.value) < 1e16) {
      output.put(Object.is(value.value, -0) ? "-0" : String(value.value));
    } else {
      output.value(value);
    }
  };
  if (!isImaginary) {
    output.put("(");
    part(real);
    if (imaginary.value >= 0 || Number.isNaN(imaginary.value)) {
      if (!Object.is(imaginary.value, -0)) output.put("+");
    }
  }
  part(imaginary);
  output.put(isImaginary ? "j" : "j)");
  return true;
};

const range: Notation = (output, { args }) => {
  const [start, stop, step] = args.map(numberOf);
  if (start === undefined || stop === undefined || step === undefined) return false;
  output.put(`range(${start}, ${stop}${step === 1 ? "" : `, ${step}`})`);
  return true;
};

/** `set` and `frozenset` up to protocol 3. */
const setOf =
  (kind: "set" | "frozenset"): Notation =>
  (output, { args: [items] }) => {
    if (!(items instanceof Items)) return false;
    output.value(new Items(kind, items.items));
    return true;
  };

const deque: Notation = (output, { args, items }) => {
  output.put("deque(");
  output.value(items);
  const longest = numberOf(args[1]);
  output.put(longest === undefined ? ")" : `, maxlen=${longest})`);
  return true;
};

const encoded: Notation = (output, made) => {
  const bytes = encodedBytes(made);
  if (bytes !== undefined) output.value(bytes);
  return bytes !== undefined;
};

const noBytes: Notation = (output, { args }) => {
  if (args.length === 0) output.put("b''");
  return args.length === 0;
};

/** How numbers of a kind and size are read; they are at most eight bytes. */
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

/** The shortest text that is parsed to the same 32-bit float. */
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
  /** As numpy names it. */
  readonly name: string;
  readonly size: number;
  readonly read: ((bytes: Buffer) => number | bigint | Float | boolean) | undefined;
}

const dataTypeOf = (value: Value | undefined): DataType | undefined => {
  if (!(value instanceof Made && value.callee instanceof Global)) return undefined;
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

/** An array up to protocol 4, and any that is not contiguous: its parts are in the state. */
const reconstructed: Notation = (output, { state }) => {
  if (!(state instanceof Items)) return false;
  const [, shape, type, isFortran, data] = state.items;
  return array(output, shape, type, data, isFortran === true);
};

const fromBuffer: Notation = (output, { args: [data, type, shape, order] }) =>
  array(output, shape, type, data, textOf(order) === "F");

const scalar: Notation = (output, { args: [type, data] }) => {
  const dataType = dataTypeOf(type);
  const bytes = bytesOf(data, dataType?.size ?? 0);
  if (dataType?.read === undefined || bytes === undefined) return false;
  output.put("np.");
  output.name(`${dataType.name}(`);
  output.value(dataType.read(bytes));
  output.put(")");
  return true;
};

const dtype: Notation = (output, made) => {
  const dataType = dataTypeOf(made);
  if (dataType === undefined) return false;
  output.name(`dtype('${dataType.name}')`);
  return true;
};

const tensor: Notation = (output, { args: [, , shape] }) => {
  if (!(shape instanceof Items)) return false;
  output.put("tensor(shape=");
  output.value(shape);
  output.put(")");
  return true;
};

/** What `copyreg` makes up to protocol 1: an instance without the call of its constructor. */
const reconstructor: Notation = (output, { args: [callee, base, initial], state }) => {
  if (!(callee instanceof Global)) return false;
  const isPlain = base instanceof Global && base.name === "object";
  const instance = new Made(callee, isPlain || initial === undefined ? [] : [initial], true);
  instance.state = state;
  output.value(instance);
  return true;
};

/** Notations of types of the standard library and numpy, by dotted name. */
export const KNOWN_TYPES: ReadonlyMap<string, Notation> = new Map([
  ["datetime.datetime", datetime],
  ["datetime.date", date],
  ["datetime.time", time],
  ["datetime.timedelta", timedelta],
  ["datetime.timezone", timezone],
  ["uuid.UUID", uuid],
  ["collections.deque", deque],
  ["_codecs.encode", encoded],
  ["copyreg._reconstructor", reconstructor],
  ["copy_reg._reconstructor", reconstructor],
  ["numpy.dtype", dtype],
  ["torch._utils._rebuild_tensor_v2", tensor],
  ...["builtins", "__builtin__"].flatMap((module): ReadonlyArray<[string, Notation]> => [
    [`${module}.complex`, complex],
    [`${module}.bytes`, noBytes],
    [`${module}.range`, range],
    [`${module}.xrange`, range],
    [`${module}.set`, setOf("set")],
    [`${module}.frozenset`, setOf("frozenset")],
  ]),
  ...["pathlib", "pathlib._local"].flatMap((module): ReadonlyArray<[string, Notation]> =>
    ["PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"].map((name) => [
      `${module}.${name}`,
      path,
    ]),
  ),
  ...["numpy.core", "numpy._core"].flatMap((module): ReadonlyArray<[string, Notation]> => [
    [`${module}.multiarray._reconstruct`, reconstructed],
    [`${module}.numeric._frombuffer`, fromBuffer],
    [`${module}.multiarray.scalar`, scalar],
  ]),
]);
