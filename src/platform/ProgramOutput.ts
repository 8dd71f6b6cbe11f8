import type { BoundedOutput } from "./BoundedOutput.ts";

/** In bytes: how much is kept of the stdout of a program, which is more than any caller reads. */
export const OUTPUT_LIMIT = 8 * 1024 * 1024;

/** In bytes: how much is kept of each stream of a failed program, to show it and to find out why it failed. */
export const FAILURE_LIMIT = 64 * 1024;

/** In characters: the longest URL that is expected. Credentials may not be recognised in a part of a URL. */
const MAX_URL_LENGTH = 8192;

const leftOut = (bytes: number) => `\n[worker-tetra] ${bytes} bytes of output left out here\n`;

/** All that was kept of the output of a program. */
export const fullText = ({ head, tail, missing }: BoundedOutput): string =>
  missing === 0
    ? Buffer.concat([head, tail]).toString()
    : head.toString() + leftOut(missing) + tail.toString();

/** The text up to its last space or line end: a part of a URL would not be recognised. */
const upToSpace = (text: string): string => {
  const earliest = Math.max(0, text.length - MAX_URL_LENGTH);
  const at = text.slice(earliest).search(/\s\S*$/);
  return text.slice(0, at === -1 ? earliest : earliest + at);
};

const fromSpace = (text: string): string => {
  const at = text.slice(0, MAX_URL_LENGTH).search(/\s/);
  return text.slice(at === -1 ? MAX_URL_LENGTH : at);
};

/** The beginning and the end of what was kept, at most `FAILURE_LIMIT` bytes of it, cut where no credential is. */
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
