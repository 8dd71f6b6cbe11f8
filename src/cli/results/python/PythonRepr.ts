import {
  Bytes,
  Dict,
  Float,
  Global,
  Items,
  PickledCall,
  Opaque,
  Text,
  type Value,
} from "../pickle/PickleValue.ts";
import { BARE_TYPES, KNOWN_TYPES } from "./KnownTypes.ts";

/** Maximum nesting of shown values. */
const MAX_DEPTH = 100;

/** Characters that Python's repr escapes: unprintable ones, and all spaces except U+0020. */
const UNPRINTABLE = /[\p{C}\p{Z}]/u;

/** Index of a function's name in the arguments of its code object. */
const NAME_IN_CODE = 11;

/** The name of a class that cloudpickle has pickled with its code. */
const classNameOf = ({ callee, args }: PickledCall): Text | undefined => {
  const isClass = callee instanceof Global && /^_make_skeleton_(?:class|enum)$/.test(callee.name);
  return isClass && args[1] instanceof Text ? args[1] : undefined;
};

/** The name of a function that cloudpickle has pickled with its code. */
const functionNameOf = ({ callee, args: [code] }: PickledCall): Text | undefined => {
  const isFunction = callee instanceof Global && callee.name === "_make_function";
  const name = isFunction && code instanceof PickledCall ? code.args[NAME_IN_CODE] : undefined;
  return name instanceof Text ? name : undefined;
};

const escaped = (character: string): string => {
  const code = character.codePointAt(0) ?? 0;
  if (code > 0xff_ff) return `\\U${code.toString(16).padStart(8, "0")}`;
  return code > 0xff
    ? `\\u${code.toString(16).padStart(4, "0")}`
    : `\\x${code.toString(16).padStart(2, "0")}`;
};

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\\": "\\\\",
};

const quoteOf = (text: string): string => (text.includes("'") && !text.includes('"') ? '"' : "'");

/** Python's repr of a float. */
const floatRepr = (value: number): string => {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  const [mantissa = "0", exponent = "0"] = Math.abs(value).toExponential().split("e");
  const power = Number(exponent);
  if (power < -4 || power >= 16) {
    const digits = String(Math.abs(power)).padStart(2, "0");
    return `${sign}${mantissa}e${power < 0 ? "-" : "+"}${digits}`;
  }
  const plain =
    power < 0 ? `0.${"0".repeat(-power - 1)}${mantissa.replace(".", "")}` : String(Math.abs(value));
  return `${sign}${plain}${plain.includes(".") ? "" : ".0"}`;
};

const OPENERS = { list: "[", tuple: "(", set: "{", frozenset: "frozenset({" } as const;
const CLOSERS = { list: "]", tuple: ")", set: "}", frozenset: "})" } as const;
const EMPTY = { list: "[]", tuple: "()", set: "set()", frozenset: "frozenset()" } as const;
const RECURSIVE = { list: "[...]", tuple: "(...)", set: "set(...)", frozenset: "frozenset(...)" };

/** Names with a capital letter are exceptions. */
const BUILTIN_CLASS =
  /^(?:[A-Z].*|int|long|float|complex|bool|str|unicode|bytes|bytearray|list|tuple|dict|set|frozenset|object|type|range|slice)$/;

const BUILTIN_MODULES = new Set(["builtins", "__builtin__", "exceptions"]);

/** Python's name for a global; builtins have no module. */
const nameOf = ({ module, name }: Global): string =>
  BUILTIN_MODULES.has(module) || module === "__main__" || BARE_TYPES.has(`${module}.${name}`)
    ? name
    : `${module}.${name}`;

/** Writes values up to a maximum length. Values beyond it are not visited. */
class Writer {
  private text = "";
  private depth = 0;
  private readonly limit: number;
  private readonly path = new Set<Value>();

  constructor(limit: number) {
    this.limit = limit;
  }

  get isFull(): boolean {
    return this.text.length > this.limit;
  }

  put(text: string): void {
    if (!this.isFull) this.text += text;
  }

  /** Writes a name from the pickle and escapes unprintable characters. */
  name(text: string): void {
    this.put(Array.from(text.slice(0, this.limit), (one) => this.shown(one, "")).join(""));
  }

  value(value: Value): void {
    if (this.isFull) return;
    if (value === null) this.put("None");
    else if (value === true) this.put("True");
    else if (value === false) this.put("False");
    else if (typeof value === "number" || typeof value === "bigint") this.put(String(value));
    else if (value instanceof Float) this.put(floatRepr(value.value));
    else if (value instanceof Text) this.string(value.bytes);
    else if (value instanceof Bytes) this.bytes(value);
    else if (value instanceof Global) this.global(value);
    else if (value instanceof Opaque) this.name(`<${value.description}>`);
    else this.nested(value);
  }

  /** Writes items separated by commas. */
  list<A>(items: Iterable<A>, each: (item: A) => void): void {
    let isFirst = true;
    for (const item of items) {
      if (this.isFull) return;
      if (!isFirst) this.put(", ");
      isFirst = false;
      each(item);
    }
  }

  end(): string {
    return this.isFull ? `${this.text.slice(0, this.limit).toWellFormed()} …` : this.text;
  }

  private nested(value: Items | Dict | PickledCall): void {
    const isRecursive = this.path.has(value);
    if (isRecursive || this.depth >= MAX_DEPTH) {
      this.put(isRecursive && value instanceof Items ? RECURSIVE[value.kind] : "{...}");
      return;
    }
    this.path.add(value);
    this.depth += 1;
    if (value instanceof Items) this.items(value);
    else if (value instanceof Dict) this.dict(value);
    else this.pickledCall(value);
    this.depth -= 1;
    this.path.delete(value);
  }

  private shown(character: string, quote: string): string {
    const short = quote === "" ? undefined : SHORT_ESCAPES[character];
    if (short !== undefined) return short;
    if (character === quote) return `\\${quote}`;
    return character !== " " && UNPRINTABLE.test(character) ? escaped(character) : character;
  }

  private string(bytes: Buffer): void {
    // A character has at most four bytes.
    const text = bytes.toString("utf8", 0, Math.min(bytes.length, 4 * this.limit));
    const quote = quoteOf(text);
    this.put(quote);
    for (const character of text) {
      if (this.isFull) return;
      this.put(this.shown(character, quote));
    }
    this.put(quote);
  }

  private bytes({ bytes, isMutable }: Bytes): void {
    const start = bytes.subarray(0, this.limit);
    const quote = quoteOf(start.toString("latin1"));
    this.put(`${isMutable ? "bytearray(" : ""}b${quote}`);
    for (const byte of start) {
      if (this.isFull) return;
      const character = String.fromCharCode(byte);
      this.put(byte < 0x7f ? this.shown(character, quote) : escaped(character));
    }
    if (bytes.length > start.length) this.put(" ".repeat(this.limit));
    this.put(`${quote}${isMutable ? ")" : ""}`);
  }

  private items({ kind, items, count }: Items): void {
    if (count === 0) return this.put(EMPTY[kind]);
    this.put(OPENERS[kind]);
    this.list(items, (item) => this.value(item));
    if (kind === "tuple" && count === 1) this.put(",");
    this.put(CLOSERS[kind]);
  }

  private dict({ entries }: Dict): void {
    this.put("{");
    this.list(entries, ([key, value]) => {
      this.value(key);
      this.put(": ");
      this.value(value);
    });
    this.put("}");
  }

  private global(global: Global): void {
    const { module, name } = global;
    if (!BUILTIN_MODULES.has(module)) this.name(`<${module}.${name}>`);
    else if (name === "Ellipsis" || name === "NotImplemented") this.put(name);
    else if (BUILTIN_CLASS.test(name)) this.name(`<class '${name}'>`);
    else this.name(`<built-in function ${name}>`);
  }

  private pickledCall(pickledCall: PickledCall): void {
    const { callee } = pickledCall;
    if (callee instanceof Global) {
      const { module, name } = callee;
      if (KNOWN_TYPES.get(`${module}.${name}`)?.(this, pickledCall) === true) return;
    }
    const className = classNameOf(pickledCall);
    if (className !== undefined) return this.name(`<class ${this.decoded(className)}>`);
    const functionName = functionNameOf(pickledCall);
    if (functionName !== undefined) return this.name(`<function ${this.decoded(functionName)}>`);
    this.callee(pickledCall);
    this.put("(");
    this.list(this.argumentsOf(pickledCall), (write) => write());
    this.put(")");
  }

  /** Instances are shown with the bare name of their class, other calls with the module too. */
  private callee({ callee, isInstance }: PickledCall): void {
    if (callee instanceof Global) return this.name(isInstance ? callee.name : nameOf(callee));
    const name = callee instanceof PickledCall ? classNameOf(callee) : undefined;
    if (name === undefined) this.value(callee);
    else this.name(this.decoded(name));
  }

  /** Arguments, items and fields, in the order in which Python loads them. */
  private *argumentsOf({ args, items, entries, state }: PickledCall): Generator<() => void> {
    for (const value of args) yield () => this.value(value);
    if (items.count > 0) yield () => this.value(items);
    if (entries.count > 0) yield () => this.value(entries);
    if (state === undefined || state === null) return;
    // The state of a class with __slots__ has two parts: __dict__ and the slots.
    const hasSlots = state instanceof Items && state.kind === "tuple" && state.count === 2;
    const parts = hasSlots ? state.items : [state];
    if (parts.some((part) => part !== null && !(part instanceof Dict))) {
      yield () => {
        this.put("state=");
        this.value(state);
      };
      return;
    }
    for (const part of parts) {
      if (!(part instanceof Dict)) continue;
      for (const [key, value] of part.entries) yield () => this.field(key, value);
    }
  }

  private decoded({ bytes }: Text): string {
    return bytes.toString("utf8", 0, Math.min(bytes.length, this.limit));
  }

  private field(key: Value, value: Value): void {
    if (key instanceof Text) this.name(this.decoded(key));
    else this.value(key);
    this.put("=");
    this.value(value);
  }
}

/** Python's repr of a value, or similar text, of at most `limit` characters. Control characters are escaped. */
export const pythonRepr = (value: Value, limit: number): string => {
  const writer = new Writer(limit);
  writer.value(value);
  return writer.end();
};
