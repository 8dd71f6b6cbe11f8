import type { BoundedOutput } from "./BoundedOutput.ts";

/** In bytes: how much stdout of a program is kept. Larger than any caller needs. */
export const OUTPUT_LIMIT = 8 * 1024 * 1024;

/** In bytes: how much of each stream of a failed program is kept, for error messages and to find the cause. */
export const FAILURE_LIMIT = 64 * 1024;

/** In characters: the longest expected URL. Credentials may not be recognised in a part of a URL. */
const MAX_URL_LENGTH = 8192;

const leftOut = (bytes: number) => `\n[worker-tetra] ${bytes} bytes of output left out here\n`;

/** The output of a program, with a note where bytes were left out. */
export const fullText = ({ head, tail, missing }: BoundedOutput): string =>
  missing === 0
    ? Buffer.concat([head, tail]).toString()
    : head.toString() + leftOut(missing) + tail.toString();

/** Cuts a text at its last space, so that it does not end with a part of a URL. */
const upToSpace = (text: string): string => {
  const earliest = Math.max(0, text.length - MAX_URL_LENGTH);
  const at = text.slice(earliest).search(/\s\S*$/);
  return text.slice(0, at === -1 ? earliest : earliest + at);
};

const fromSpace = (text: string): string => {
  const at = text.slice(0, MAX_URL_LENGTH).search(/\s/);
  return text.slice(at === -1 ? MAX_URL_LENGTH : at);
};

/** The beginning and the end of an output, at most `FAILURE_LIMIT` bytes, cut at spaces so that no URL is cut. */
export const failureText = ({ head, tail, missing }: BoundedOutput): string => {
  const all = missing === 0 ? Buffer.concat([head, tail]) : undefined;
  if (all !== undefined && all.byteLength <= FAILURE_LIMIT) return all.toString();
  const half = FAILURE_LIMIT / 2;
  const first = (all ?? head).subarray(0, half);
  const last = (all ?? tail).subarray(-half);
  const cut =
    (all ?? head).byteLength +
    (all === undefined ? tail.byteLength + missing : 0) -
    first.byteLength -
    last.byteLength;
  return upToSpace(first.toString()) + leftOut(cut) + fromSpace(last.toString());
};
