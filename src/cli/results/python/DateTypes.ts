import { Global, PickledCall, type Value } from "../pickle/PickleValue.ts";
import { bytesOf, type Notation, numberOf, type Output } from "./TypeNotation.ts";

/** Hour, minute, second and microsecond, without trailing zeros of the last two. */
const clockOf = (bytes: Buffer): ReadonlyArray<number> => {
  const [hour = 0, minute = 0, second = 0] = bytes;
  const micro = bytes.readUIntBE(3, 3);
  if (micro > 0) return [hour, minute, second, micro];
  return second > 0 ? [hour, minute, second] : [hour, minute];
};

const withZone = (output: Output, zone: Value | undefined) => {
  if (zone === undefined || zone === null) return;
  output.put(", tzinfo=");
  output.value(zone);
};

export const datetime: Notation = (output, { args: [state, zone] }) => {
  const bytes = bytesOf(state, 10);
  if (bytes === undefined) return false;
  // The highest bit of the month is `fold`.
  const date = [bytes.readUInt16BE(), (bytes[2] ?? 0) & 0x7f, bytes[3] ?? 0];
  output.put(`datetime.datetime(${[...date, ...clockOf(bytes.subarray(4))].join(", ")}`);
  withZone(output, zone);
  output.put(")");
  return true;
};

export const date: Notation = (output, { args: [state] }) => {
  const bytes = bytesOf(state, 4);
  if (bytes === undefined) return false;
  output.put(`datetime.date(${bytes.readUInt16BE()}, ${bytes[2]}, ${bytes[3]})`);
  return true;
};

export const time: Notation = (output, { args: [state, zone] }) => {
  const bytes = bytesOf(state, 6);
  if (bytes === undefined) return false;
  const [hour = 0, ...rest] = clockOf(bytes);
  output.put(`datetime.time(${[hour & 0x7f, ...rest].join(", ")}`);
  withZone(output, zone);
  output.put(")");
  return true;
};

export const timedelta: Notation = (output, { args }) => {
  const parts = ["days", "seconds", "microseconds"].flatMap((name, at) => {
    const number = numberOf(args[at]);
    return number === undefined || number === 0 ? [] : [`${name}=${number}`];
  });
  output.put(`datetime.timedelta(${parts.length === 0 ? "0" : parts.join(", ")})`);
  return true;
};

export const timezone: Notation = (output, { args: [offset, ...rest] }) => {
  const isUtc =
    rest.length === 0 &&
    offset instanceof PickledCall &&
    offset.callee instanceof Global &&
    offset.callee.name === "timedelta" &&
    offset.args.every((part) => part === 0);
  if (isUtc) output.put("datetime.timezone.utc");
  return isUtc;
};
