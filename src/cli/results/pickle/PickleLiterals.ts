import { unreadable } from "./PickleUnreadable.ts";
import { Opaque, type Value } from "./PickleValue.ts";

/** Maximum length of a string of protocol 0 that is unescaped, more than is ever shown. */
const MAX_ESCAPED = 100_000;

/** Maximum number of digits that are converted, as in Python: conversion takes quadratic time. */
const MAX_DIGITS = 4300;

/** An integer in decimal digits. */
export const integerOf = (digits: string): Value => {
  if (!/^[+-]?\d+$/.test(digits)) throw unreadable("it has an invalid integer");
  if (digits.length > MAX_DIGITS) return new Opaque(`an int of ${digits.length} digits`);
  const number = Number(digits);
  return Number.isSafeInteger(number) ? number : BigInt(digits);
};

/** An integer in two's complement, little-endian. */
export const longOf = (bytes: Buffer): Value => {
  if (bytes.length <= 6) return bytes.length === 0 ? 0 : bytes.readIntLE(0, bytes.length);
  if (bytes.length * 2.5 > MAX_DIGITS) return new Opaque(`an int of ${bytes.length} bytes`);
  const digits = Buffer.from(bytes.toReversed()).toString("hex");
  return BigInt.asIntN(bytes.length * 8, BigInt(`0x${digits}`));
};

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };

/** Resolves Python's escapes in the first MAX_ESCAPED characters of a line of protocol 0. */
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
