import { Result, Schema } from "effect";

/** The most items of one container that are kept, more than are ever shown; the rest are only counted. */
const MAX_ITEMS = 1000;

/** The most opcodes that are read from one pickle, and the most objects: about a second of work, and 300 MB. */
const MAX_OPCODES = 4_000_000;
const MAX_OBJECTS = 500_000;

/** Characters with escapes that are read of a text of protocol 0: more than are ever shown. */
const MAX_ESCAPED = 100_000;

/** The most digits of an integer that are converted, as in Python; the time is quadratic. */
const MAX_DIGITS = 4300;

/** A pickle that can't be shown. */
export class PickleUnreadable extends Schema.TaggedError<PickleUnreadable>()("PickleUnreadable", {
  reason: Schema.String,
}) {
  override get message(): string {
    return this.reason;
  }
}

export class Float {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** A str in UTF-8, decoded only when it is shown. */
export class Text {
  readonly bytes: Buffer;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
}

export class Bytes {
  readonly bytes: Buffer;
  readonly isMutable: boolean;
  constructor(bytes: Buffer, isMutable: boolean) {
    this.bytes = bytes;
    this.isMutable = isMutable;
  }
}

/** A list, a tuple or a set, with its first items. */
export class Items {
  readonly kind: "list" | "tuple" | "set" | "frozenset";
  readonly items: Array<Value>;
  count: number;
  constructor(kind: Items["kind"], items: ReadonlyArray<Value> = []) {
    this.kind = kind;
    this.items = items.slice(0, MAX_ITEMS);
    this.count = items.length;
  }
  add(items: ReadonlyArray<Value>): void {
    this.count += items.length;
    for (const item of items.slice(0, MAX_ITEMS - this.items.length)) this.items.push(item);
  }
}

export class Dict {
  readonly entries: Array<readonly [Value, Value]> = [];
  count = 0;
  constructor(flat: ReadonlyArray<Value> = []) {
    this.add(flat);
  }
  /** Keys and values alternate. */
  add(flat: ReadonlyArray<Value>): void {
    this.count += flat.length / 2;
    for (let at = 0; at + 1 < flat.length && this.entries.length < MAX_ITEMS; at += 2) {
      this.entries.push([flat[at] ?? null, flat[at + 1] ?? null]);
    }
  }
}

/** The name of a class or a function. Nothing is imported for it. */
export class Global {
  readonly module: string;
  readonly name: string;
  constructor(module: string, name: string) {
    this.module = module;
    this.name = name;
  }
}

/** The result of a call that loading would make. Nothing is called: only the callee and its arguments are kept. */
export class Made {
  readonly callee: Value;
  readonly args: ReadonlyArray<Value>;
  /** Made by `cls.__new__`, so the callee is a class and the state has the fields. */
  readonly isInstance: boolean;
  readonly items = new Items("list");
  readonly entries = new Dict();
  state: Value | undefined = undefined;
  constructor(callee: Value, args: ReadonlyArray<Value>, isInstance: boolean) {
    this.callee = callee;
    this.args = args;
    this.isInstance = isInstance;
  }
}

/** A value that can't be built from the pickle alone. */
export class Opaque {
  readonly description: string;
  constructor(description: string) {
    this.description = description;
  }
}

/** A Python value as plain data: integers are numbers or, when they are too large for that, bigints. */
export type Value =
  | null
  | boolean
  | number
  | bigint
  | Float
  | Text
  | Bytes
  | Items
  | Dict
  | Global
  | Made
  | Opaque;

const unreadable = (reason: string) => new PickleUnreadable({ reason });

const integerOf = (digits: string): Value => {
  if (!/^[+-]?\d+$/.test(digits)) throw unreadable("it has an invalid integer");
  if (digits.length > MAX_DIGITS) return new Opaque(`an int of ${digits.length} digits`);
  const number = Number(digits);
  return Number.isSafeInteger(number) ? number : BigInt(digits);
};

/** Two's complement, the lowest byte first. */
const longOf = (bytes: Buffer): Value => {
  if (bytes.length <= 6) return bytes.length === 0 ? 0 : bytes.readIntLE(0, bytes.length);
  if (bytes.length * 2.5 > MAX_DIGITS) return new Opaque(`an int of ${bytes.length} bytes`);
  const digits = Buffer.from(bytes.toReversed()).toString("hex");
  return BigInt.asIntN(bytes.length * 8, BigInt(`0x${digits}`));
};

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };

/** The start of a line of protocol 0 with the escapes that Python writes there. */
const unescaped = (line: string): string =>
  line
    .slice(0, MAX_ESCAPED)
    .replaceAll(
      /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))/g,
      (whole, two?: string, four?: string, eight?: string, one?: string) => {
        const code = Number.parseInt(two ?? four ?? eight ?? "", 16);
        if (Number.isNaN(code)) return ESCAPES[one ?? ""] ?? one ?? whole;
        return code > 0x10_ff_ff ? whole : String.fromCodePoint(code);
      },
    );

const textOf = (text: string) => new Text(Buffer.from(text));

/** What was read of a pickle. */
export interface Reading {
  readonly value: Value;
  /** Why the value is only the beginning, if it is. */
  readonly limit: string | undefined;
}

/** The stack machine that interprets pickles. Calls and imports are recorded, never carried out. */
class Machine {
  private readonly bytes: Buffer;
  private at = 0;
  private readonly stack: Array<Value> = [];
  private readonly marks: Array<number> = [];
  private readonly memo = new Map<number, Value>();
  private objects = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  run(): Reading {
    for (let count = 0; count < MAX_OPCODES; count += 1) {
      const code = this.take(1)[0] ?? 0;
      if (code === STOP) return { value: this.pop(), limit: undefined };
      const operation = OPERATIONS[code];
      if (operation === undefined) throw unreadable(`it has an unknown opcode, ${code}`);
      operation(this);
      if (this.objects > MAX_OBJECTS) return this.beginning(MAX_OBJECTS, "objects");
    }
    return this.beginning(MAX_OPCODES, "opcodes");
  }

  /** What was built so far: a container is put on the stack before its items. */
  private beginning(limit: number, what: string): Reading {
    const reason = `it has more than ${limit.toLocaleString("en")} ${what}`;
    const [value] = this.stack;
    if (value === undefined) throw unreadable(reason);
    return { value, limit: reason };
  }

  take(size: number): Buffer {
    if (size < 0 || this.at + size > this.bytes.length) throw unreadable("it ends too early");
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  /** Bytes with their length before them, in an integer of this width. */
  takeSized(width: 1 | 4 | 8): Buffer {
    return this.take(this.unsigned(width));
  }

  unsigned(width: 1 | 2 | 4 | 8): number {
    const bytes = this.take(width);
    // Sizes above 2^53 are rounded, and too large in any case.
    return width === 8 ? Number(bytes.readBigUInt64LE()) : bytes.readUIntLE(0, width);
  }

  line(encoding: "utf8" | "latin1" = "utf8"): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end === -1) throw unreadable("it ends too early");
    const line = this.take(end - this.at).toString(encoding);
    this.at += 1;
    return line;
  }

  push(value: Value): void {
    if (typeof value === "object" && value !== null) this.objects += 1;
    this.stack.push(value);
  }

  pop(): Value {
    const value = this.top();
    this.stack.length -= 1;
    return value;
  }

  top(): Value {
    this.requireAbove(this.stack.length - 1);
    return this.stack.at(-1) ?? null;
  }

  /** Fails for a position on the stack below the last mark. */
  private requireAbove(position: number): void {
    if (position < (this.marks.at(-1) ?? 0)) {
      throw unreadable("it pops more values than the stack has");
    }
  }

  mark(): void {
    this.marks.push(this.stack.length);
  }

  /** The values since the last mark. */
  popMark(): Array<Value> {
    const start = this.marks.pop();
    if (start === undefined) throw unreadable("it ends a container that it did not start");
    return this.stack.splice(start);
  }

  /** Drops the last value, or a mark when that came last. */
  drop(): void {
    if (this.marks.at(-1) === this.stack.length) this.marks.pop();
    else this.pop();
  }

  pushItems(kind: Items["kind"], items: ReadonlyArray<Value> = []): void {
    this.push(new Items(kind, items));
  }

  pushTuple(size: number): void {
    const start = this.stack.length - size;
    this.requireAbove(start);
    this.pushItems("tuple", this.stack.splice(start));
  }

  pushMade(callee: Value, args: Value, isInstance: boolean): void {
    const items = args instanceof Items ? args.items : [args];
    this.push(new Made(callee, items, isInstance));
  }

  pushGlobal(module: string, name: string): void {
    this.push(new Global(module, name));
  }

  extend(items: ReadonlyArray<Value>): void {
    const target = this.top();
    if (target instanceof Items) target.add(items);
    else if (target instanceof Made) target.items.add(items);
  }

  setItems(flat: ReadonlyArray<Value>): void {
    const target = this.top();
    if (target instanceof Dict) target.add(flat);
    else if (target instanceof Made) target.entries.add(flat);
  }

  build(): void {
    const state = this.pop();
    const target = this.top();
    if (target instanceof Made) target.state = state;
  }

  put(index: number): void {
    this.objects += 1;
    this.memo.set(index, this.top());
  }

  memoize(): void {
    this.put(this.memo.size);
  }

  get(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined) throw unreadable("it refers to an undefined memo entry");
    this.stack.push(value);
  }
}

const nameOf = (value: Value): string =>
  value instanceof Text ? value.bytes.toString("utf8", 0, 500) : "?";

const STOP = 0x2e;

const OPERATIONS: ReadonlyArray<((machine: Machine) => void) | undefined> = (() => {
  const table: Array<((machine: Machine) => void) | undefined> = Array.from({ length: 256 });
  const define = (code: number | string, operation: (machine: Machine) => void) => {
    table[typeof code === "string" ? code.charCodeAt(0) : code] = operation;
  };
  // The stack.
  define("(", (m) => m.mark());
  define("0", (m) => m.drop());
  define("1", (m) => void m.popMark());
  define("2", (m) => m.push(m.top()));
  define(0x80, (m) => void m.take(1));
  define(0x95, (m) => void m.take(8));
  // The memo.
  define("p", (m) => m.put(Number(m.line())));
  define("q", (m) => m.put(m.unsigned(1)));
  define("r", (m) => m.put(m.unsigned(4)));
  define(0x94, (m) => m.memoize());
  define("g", (m) => m.get(Number(m.line())));
  define("h", (m) => m.get(m.unsigned(1)));
  define("j", (m) => m.get(m.unsigned(4)));
  // Constants and numbers.
  define("N", (m) => m.push(null));
  define(0x88, (m) => m.push(true));
  define(0x89, (m) => m.push(false));
  define("I", (m) => {
    const line = m.line();
    m.push(line === "01" ? true : line === "00" ? false : integerOf(line));
  });
  define("L", (m) => m.push(integerOf(m.line().replace(/L$/, ""))));
  define("J", (m) => m.push(m.take(4).readInt32LE()));
  define("K", (m) => m.push(m.unsigned(1)));
  define("M", (m) => m.push(m.unsigned(2)));
  define(0x8a, (m) => m.push(longOf(m.takeSized(1))));
  define(0x8b, (m) => m.push(longOf(m.takeSized(4))));
  define("F", (m) => m.push(new Float(Number(m.line().replace("inf", "Infinity")))));
  define("G", (m) => m.push(new Float(m.take(8).readDoubleBE())));
  // Texts and bytes.
  define("V", (m) => m.push(textOf(unescaped(m.line("latin1")))));
  define("S", (m) => m.push(textOf(unescaped(m.line().replace(/^(['"])(.*)\1$/, "$2")))));
  for (const [code, width] of [
    ["X", 4],
    ["T", 4],
    ["U", 1],
    [0x8c, 1],
    [0x8d, 8],
  ] as const) {
    define(code, (m) => m.push(new Text(m.takeSized(width))));
  }
  define("B", (m) => m.push(new Bytes(m.takeSized(4), false)));
  define("C", (m) => m.push(new Bytes(m.takeSized(1), false)));
  define(0x8e, (m) => m.push(new Bytes(m.takeSized(8), false)));
  define(0x96, (m) => m.push(new Bytes(m.takeSized(8), true)));
  define(0x97, (m) => m.push(new Opaque("an out-of-band buffer")));
  define(0x98, () => {});
  // Containers.
  define("]", (m) => m.pushItems("list"));
  define("l", (m) => m.pushItems("list", m.popMark()));
  define(")", (m) => m.pushItems("tuple"));
  define("t", (m) => m.pushItems("tuple", m.popMark()));
  for (const size of [1, 2, 3]) define(0x84 + size, (m) => m.pushTuple(size));
  define("}", (m) => m.push(new Dict()));
  define("d", (m) => m.push(new Dict(m.popMark())));
  define(0x8f, (m) => m.pushItems("set"));
  define(0x91, (m) => m.pushItems("frozenset", m.popMark()));
  define("a", (m) => m.extend([m.pop()]));
  define("e", (m) => m.extend(m.popMark()));
  define(0x90, (m) => m.extend(m.popMark()));
  define("s", (m) => {
    const value = m.pop();
    m.setItems([m.pop(), value]);
  });
  define("u", (m) => m.setItems(m.popMark()));
  // Names and calls.
  define("c", (m) => m.pushGlobal(m.line(), m.line()));
  define(0x93, (m) => {
    const name = nameOf(m.pop());
    m.pushGlobal(nameOf(m.pop()), name);
  });
  define("R", (m) => {
    const args = m.pop();
    m.pushMade(m.pop(), args, false);
  });
  define(0x81, (m) => {
    const args = m.pop();
    m.pushMade(m.pop(), args, true);
  });
  define(0x92, (m) => {
    const named = m.pop();
    const args = m.pop();
    m.pushMade(m.pop(), args, true);
    const made = m.top();
    if (made instanceof Made && named instanceof Dict) made.state = named;
  });
  define("i", (m) => {
    const callee = new Global(m.line(), m.line());
    m.push(new Made(callee, m.popMark().slice(0, MAX_ITEMS), true));
  });
  define("o", (m) => {
    const [callee = null, ...args] = m.popMark().slice(0, MAX_ITEMS);
    m.push(new Made(callee, args, true));
  });
  define("b", (m) => m.build());
  define("P", (m) => m.push(new Opaque(`a persistent object ${m.line().slice(0, 100)}`)));
  define("Q", (m) => {
    m.pop();
    m.push(new Opaque("a persistent object"));
  });
  for (const [code, width] of [
    [0x82, 1],
    [0x83, 2],
    [0x84, 4],
  ] as const) {
    define(code, (m) => m.push(new Opaque(`extension ${m.unsigned(width)}`)));
  }
  return table;
})();

/**
 * Parses a pickle of any protocol without loading it: no name is imported, nothing is called. Time and memory are
 * proportional to the pickle's size, up to a second; of a larger one only the beginning is read.
 */
export const readPickle = (bytes: Buffer): Result.Result<Reading, PickleUnreadable> =>
  Result.try({
    try: () => new Machine(bytes).run(),
    catch: (error) =>
      error instanceof PickleUnreadable
        ? error
        : unreadable(error instanceof Error ? error.message : String(error)),
  });
