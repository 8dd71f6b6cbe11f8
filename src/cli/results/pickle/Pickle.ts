import { Result } from "effect";

import { PickleMachine } from "./PickleMachine.ts";
import { OPERATIONS, STOP } from "./PickleOpcodes.ts";
import { PickleUnreadable, unreadable } from "./PickleUnreadable.ts";
import type { Value } from "./PickleValue.ts";

/** The most opcodes that are read from one pickle, and the most objects: about a second of work, and 300 MB. */
const MAX_OPCODES = 4_000_000;
const MAX_OBJECTS = 500_000;

/** What was read of a pickle. */
export interface Reading {
  readonly value: Value;
  /** Why the value is only the beginning, if it is. */
  readonly limit: string | undefined;
}

/** What was built before a limit was reached. */
const beginning = (machine: PickleMachine, limit: number, what: string): Reading => {
  const reason = `it has more than ${limit.toLocaleString("en")} ${what}`;
  if (machine.first === undefined) throw unreadable(reason);
  return { value: machine.first, limit: reason };
};

const run = (machine: PickleMachine): Reading => {
  for (let count = 0; count < MAX_OPCODES; count += 1) {
    const code = machine.take(1)[0] ?? 0;
    if (code === STOP) return { value: machine.pop(), limit: undefined };
    const operation = OPERATIONS[code];
    if (operation === undefined) throw unreadable(`it has an unknown opcode, ${code}`);
    operation(machine);
    if (machine.size > MAX_OBJECTS) return beginning(machine, MAX_OBJECTS, "objects");
  }
  return beginning(machine, MAX_OPCODES, "opcodes");
};

/**
 * Parses a pickle of any protocol without loading it: no name is imported, nothing is called. Time and memory are
 * proportional to the pickle's size, up to a second; of a larger one only the beginning is read.
 */
export const readPickle = (bytes: Buffer): Result.Result<Reading, PickleUnreadable> =>
  Result.try({
    try: () => run(new PickleMachine(bytes)),
    catch: (error) =>
      error instanceof PickleUnreadable
        ? error
        : unreadable(error instanceof Error ? error.message : String(error)),
  });
