import { unreadable } from "./PickleUnreadable.ts";
import { Dict, Global, Items, PickledCall, type Value } from "./PickleValue.ts";

/** Stack machine that interprets pickles. Calls and imports are recorded, never executed. */
export class PickleMachine {
  private readonly bytes: Buffer;
  private at = 0;
  private readonly stack: Array<Value> = [];
  private readonly marks: Array<number> = [];
  private readonly memo = new Map<number, Value>();
  private objects = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** Number of objects built so far. */
  get size(): number {
    return this.objects;
  }

  /** The lowest value on the stack: containers are pushed before their items. */
  get first(): Value | undefined {
    return this.stack[0];
  }

  take(size: number): Buffer {
    if (size < 0 || this.at + size > this.bytes.length) throw unreadable("it ends too early");
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  /** Bytes with their length in front, as an integer of this width. */
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

  /** Drops the last value, or the last mark if no value follows it. */
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

  pushCall(callee: Value, args: Value, isInstance: boolean): void {
    const items = args instanceof Items ? args.items : [args];
    this.push(new PickledCall(callee, items, isInstance));
  }

  pushGlobal(module: string, name: string): void {
    this.push(new Global(module, name));
  }

  extend(items: ReadonlyArray<Value>): void {
    const target = this.top();
    if (target instanceof Items) target.add(items);
    else if (target instanceof PickledCall) target.items.add(items);
  }

  setItems(flat: ReadonlyArray<Value>): void {
    const target = this.top();
    if (target instanceof Dict) target.add(flat);
    else if (target instanceof PickledCall) target.entries.add(flat);
  }

  build(): void {
    const state = this.pop();
    const target = this.top();
    if (target instanceof PickledCall) target.state = state;
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
