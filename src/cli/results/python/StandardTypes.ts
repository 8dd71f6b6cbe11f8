import { Dict, Float, Global, Items, PickledCall, Text } from "../pickle/PickleValue.ts";
import { encodedBytes, type Notation, numberOf, textOf } from "./TypeNotation.ts";

export const path: Notation = (output, { callee, args }) => {
  const parts = args.map(textOf);
  if (!(callee instanceof Global) || parts.includes(undefined)) return false;
  output.put(`${callee.name}(`);
  const joined = parts.join("/").replace(/^\/\//, "/");
  output.value(new Text(Buffer.from(joined === "" ? "." : joined)));
  output.put(")");
  return true;
};

export const uuid: Notation = (output, { state }) => {
  if (!(state instanceof Dict)) return false;
  const number = state.entries.find(([key]) => textOf(key) === "int")?.[1];
  if (typeof number !== "bigint" && typeof number !== "number") return false;
  const digits = BigInt.asUintN(128, BigInt(number)).toString(16).padStart(32, "0");
  output.put(`UUID('${digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")}')`);
  return true;
};

export const complex: Notation = (output, { args: [real, imaginary] }) => {
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

export const range: Notation = (output, { args }) => {
  const [start, stop, step] = args.map(numberOf);
  if (start === undefined || stop === undefined || step === undefined) return false;
  output.put(`range(${start}, ${stop}${step === 1 ? "" : `, ${step}`})`);
  return true;
};

/** `set` and `frozenset` up to protocol 3. */
export const setOf =
  (kind: "set" | "frozenset"): Notation =>
  (output, { args: [items] }) => {
    if (!(items instanceof Items)) return false;
    output.value(new Items(kind, items.items));
    return true;
  };

export const deque: Notation = (output, { args, items }) => {
  output.put("deque(");
  output.value(items);
  const maxLength = numberOf(args[1]);
  output.put(maxLength === undefined ? ")" : `, maxlen=${maxLength})`);
  return true;
};

export const encoded: Notation = (output, pickledCall) => {
  const bytes = encodedBytes(pickledCall);
  if (bytes !== undefined) output.value(bytes);
  return bytes !== undefined;
};

export const emptyBytes: Notation = (output, { args }) => {
  if (args.length === 0) output.put("b''");
  return args.length === 0;
};

/** `copyreg` up to protocol 1: an instance created without calling its constructor. */
export const reconstructor: Notation = (output, { args: [callee, base, initial], state }) => {
  if (!(callee instanceof Global)) return false;
  const isPlain = base instanceof Global && base.name === "object";
  const instance = new PickledCall(callee, isPlain || initial === undefined ? [] : [initial], true);
  instance.state = state;
  output.value(instance);
  return true;
};
