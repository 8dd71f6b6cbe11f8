import { integerOf, longOf, unescaped } from "./PickleLiterals.ts";
import type { PickleMachine } from "./PickleMachine.ts";
import {
  Bytes,
  Dict,
  Float,
  Global,
  PickledCall,
  MAX_ITEMS,
  Opaque,
  Text,
  type Value,
} from "./PickleValue.ts";

type Operation = (machine: PickleMachine) => void;

/** Operations by their opcode: a character, or its code. */
type Operations = ReadonlyArray<readonly [code: number | string, operation: Operation]>;

/** Ends the pickle; the value on the stack is the result. */
export const STOP = 0x2e;

const STACK: Operations = [
  ["(", (m) => m.mark()],
  ["0", (m) => m.drop()],
  ["1", (m) => void m.popMark()],
  ["2", (m) => m.push(m.top())],
  // Protocol version, and length of a frame.
  [0x80, (m) => void m.take(1)],
  [0x95, (m) => void m.take(8)],
];

const MEMO: Operations = [
  ["p", (m) => m.put(Number(m.line()))],
  ["q", (m) => m.put(m.unsigned(1))],
  ["r", (m) => m.put(m.unsigned(4))],
  [0x94, (m) => m.memoize()],
  ["g", (m) => m.get(Number(m.line()))],
  ["h", (m) => m.get(m.unsigned(1))],
  ["j", (m) => m.get(m.unsigned(4))],
];

const CONSTANTS_AND_NUMBERS: Operations = [
  ["N", (m) => m.push(null)],
  [0x88, (m) => m.push(true)],
  [0x89, (m) => m.push(false)],
  [
    "I",
    (m) => {
      const line = m.line();
      m.push(line === "01" ? true : line === "00" ? false : integerOf(line));
    },
  ],
  ["L", (m) => m.push(integerOf(m.line().replace(/L$/, "")))],
  ["J", (m) => m.push(m.take(4).readInt32LE())],
  ["K", (m) => m.push(m.unsigned(1))],
  ["M", (m) => m.push(m.unsigned(2))],
  [0x8a, (m) => m.push(longOf(m.takeSized(1)))],
  [0x8b, (m) => m.push(longOf(m.takeSized(4)))],
  ["F", (m) => m.push(new Float(Number(m.line().replace("inf", "Infinity"))))],
  ["G", (m) => m.push(new Float(m.take(8).readDoubleBE()))],
];

const textOf = (text: string) => new Text(Buffer.from(text));

const TEXTS_AND_BYTES: Operations = [
  ["V", (m) => m.push(textOf(unescaped(m.line("latin1"))))],
  ["S", (m) => m.push(textOf(unescaped(m.line().replace(/^(['"])(.*)\1$/, "$2"))))],
  ["X", (m) => m.push(new Text(m.takeSized(4)))],
  ["T", (m) => m.push(new Text(m.takeSized(4)))],
  ["U", (m) => m.push(new Text(m.takeSized(1)))],
  [0x8c, (m) => m.push(new Text(m.takeSized(1)))],
  [0x8d, (m) => m.push(new Text(m.takeSized(8)))],
  ["B", (m) => m.push(new Bytes(m.takeSized(4), false))],
  ["C", (m) => m.push(new Bytes(m.takeSized(1), false))],
  [0x8e, (m) => m.push(new Bytes(m.takeSized(8), false))],
  [0x96, (m) => m.push(new Bytes(m.takeSized(8), true))],
  [0x97, (m) => m.push(new Opaque("an out-of-band buffer"))],
  [0x98, () => {}],
];

const CONTAINERS: Operations = [
  ["]", (m) => m.pushItems("list")],
  ["l", (m) => m.pushItems("list", m.popMark())],
  [")", (m) => m.pushItems("tuple")],
  ["t", (m) => m.pushItems("tuple", m.popMark())],
  [0x85, (m) => m.pushTuple(1)],
  [0x86, (m) => m.pushTuple(2)],
  [0x87, (m) => m.pushTuple(3)],
  ["}", (m) => m.push(new Dict())],
  ["d", (m) => m.push(new Dict(m.popMark()))],
  [0x8f, (m) => m.pushItems("set")],
  [0x91, (m) => m.pushItems("frozenset", m.popMark())],
  ["a", (m) => m.extend([m.pop()])],
  ["e", (m) => m.extend(m.popMark())],
  [0x90, (m) => m.extend(m.popMark())],
  [
    "s",
    (m) => {
      const value = m.pop();
      m.setItems([m.pop(), value]);
    },
  ],
  ["u", (m) => m.setItems(m.popMark())],
];

const nameOf = (value: Value): string =>
  value instanceof Text ? value.bytes.toString("utf8", 0, 500) : "?";

const call = (isInstance: boolean) => (m: PickleMachine) => {
  const args = m.pop();
  m.pushCall(m.pop(), args, isInstance);
};

/** A call with keyword arguments. */
const callNamed = (m: PickleMachine) => {
  const named = m.pop();
  call(true)(m);
  const pickledCall = m.top();
  if (pickledCall instanceof PickledCall && named instanceof Dict) pickledCall.state = named;
};

const NAMES_AND_CALLS: Operations = [
  ["c", (m) => m.pushGlobal(m.line(), m.line())],
  [
    0x93,
    (m) => {
      const name = nameOf(m.pop());
      m.pushGlobal(nameOf(m.pop()), name);
    },
  ],
  ["R", call(false)],
  [0x81, call(true)],
  [0x92, callNamed],
  [
    "i",
    (m) => {
      const callee = new Global(m.line(), m.line());
      m.push(new PickledCall(callee, m.popMark().slice(0, MAX_ITEMS), true));
    },
  ],
  [
    "o",
    (m) => {
      const [callee = null, ...args] = m.popMark().slice(0, MAX_ITEMS);
      m.push(new PickledCall(callee, args, true));
    },
  ],
  ["b", (m) => m.build()],
];

/** Values that only the program that wrote the pickle can load. */
const FOREIGN_VALUES: Operations = [
  ["P", (m) => m.push(new Opaque(`a persistent object ${m.line().slice(0, 100)}`))],
  [
    "Q",
    (m) => {
      m.pop();
      m.push(new Opaque("a persistent object"));
    },
  ],
  [0x82, (m) => m.push(new Opaque(`extension ${m.unsigned(1)}`))],
  [0x83, (m) => m.push(new Opaque(`extension ${m.unsigned(2)}`))],
  [0x84, (m) => m.push(new Opaque(`extension ${m.unsigned(4)}`))],
];

/** The operations of all protocols, indexed by opcode. */
export const OPERATIONS: ReadonlyArray<Operation | undefined> = (() => {
  const table: Array<Operation | undefined> = Array.from({ length: 256 });
  for (const operations of [
    STACK,
    MEMO,
    CONSTANTS_AND_NUMBERS,
    TEXTS_AND_BYTES,
    CONTAINERS,
    NAMES_AND_CALLS,
    FOREIGN_VALUES,
  ]) {
    for (const [code, operation] of operations) {
      table[typeof code === "string" ? code.charCodeAt(0) : code] = operation;
    }
  }
  return table;
})();
