import { unreadable } from "./PickleUnreadable.ts";
import { Opaque, type Value } from "./PickleValue.ts";

/** Characters with escapes that are read of a text of protocol 0: more than are ever shown. */
const MAX_ESCAPED = 100_000;

/** The most digits of an integer that are converted, as in Python; the time is quadratic. */
const MAX_DIGITS = 4300;

/** An integer in decimal digits. */
export const integerOf = (digits: string): Value => {
  if (!/^[+-]?\d+$/.test(digits)) throw unreadable("it has an invalid integer");
  if (digits.length > MAX_DIGITS) return new Opaque(`an int of ${digits.length} digits`);
  const number = Number(digits);
  return Number.isSafeInteger(number) ? number : BigInt(digits);
};

/** An integer in two's complement, the lowest byte first. */
export const longOf = (bytes: Buffer): Value => {
  if (bytes.length <= 6) return bytes.length === 0 ? 0 : bytes.readIntLE(0, bytes.length);
  if (bytes.length * 2.5 > MAX_DIGITS) return new Opaque(`an int of ${bytes.length} bytes`);
  const digits = Buffer.from(bytes.toReversed()).toString("hex");
  return BigInt.asIntN(bytes.length * 8, BigInt(`0x${digits}`));
};

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };

/** The start of a line of protocol 0 with the escapes that Python writes there. */
export const unescaped = (line: string): string =>
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
