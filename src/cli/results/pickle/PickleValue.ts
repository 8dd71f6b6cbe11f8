/** Maximum number of items kept per container, more than are ever shown. Further items are only counted. */
export const MAX_ITEMS = 1000;

export class Float {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** A str in UTF-8. Decoded when it is shown. */
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

/** The name of a class or function. It is not imported. */
export class Global {
  readonly module: string;
  readonly name: string;
  constructor(module: string, name: string) {
    this.module = module;
    this.name = name;
  }
}

/** The result of a call that loading would make. The call is not executed; its callee and arguments are kept. */
export class PickledCall {
  readonly callee: Value;
  readonly args: ReadonlyArray<Value>;
  /** A call of `cls.__new__`, so the callee is a class and the state has the fields. */
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

/** A value that the pickle alone does not contain. */
export class Opaque {
  readonly description: string;
  constructor(description: string) {
    this.description = description;
  }
}

/** A Python value as plain data. Integers are numbers, or bigints if they are too large. */
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
  | PickledCall
  | Opaque;
