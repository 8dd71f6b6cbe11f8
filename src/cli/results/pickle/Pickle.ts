import { Result } from "effect";

import { PickleMachine } from "./PickleMachine.ts";
import { OPERATIONS, STOP } from "./PickleOpcodes.ts";
import { PickleUnreadable, unreadable } from "./PickleUnreadable.ts";
import type { Value } from "./PickleValue.ts";

/** Maximum number of opcodes and objects read from one pickle: about a second of work, and 300 MB. */
const MAX_OPCODES = 4_000_000;
const MAX_OBJECTS = 500_000;

export interface Reading {
  readonly value: Value;
  /** The limit that was exceeded, if only the beginning was read. */
  readonly limit: string | undefined;
}

/** The part of the value that was built before a limit was reached. */
const partialReading = (machine: PickleMachine, limit: number, what: string): Reading => {
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
    if (machine.size > MAX_OBJECTS) return partialReading(machine, MAX_OBJECTS, "objects");
  }
  return partialReading(machine, MAX_OPCODES, "opcodes");
};

/**
 * Parses a pickle of any protocol without loading it: imports no names and calls nothing. Time and memory are
 * proportional to the pickle's size, up to about a second; only the beginning of a larger pickle is read.
 */
export const readPickle = (bytes: Buffer): Result.Result<Reading, PickleUnreadable> =>
  Result.try({
    try: () => run(new PickleMachine(bytes)),
    catch: (error) =>
      error instanceof PickleUnreadable
        ? error
        : unreadable(error instanceof Error ? error.message : String(error)),
  });
