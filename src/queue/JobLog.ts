import { Duration, Predicate } from "effect";

/** How much of an error a line of the log has, in characters. */
const REASON_SHOWN = 300;

/** How much of a body is searched for its error, in bytes. */
const ERROR_SCANNED = 16 * 1024;

const ERROR_FIRST = '{"error":';

/** The error that goes back as a job's result, if it is one: of the handler's value, or of a value that can't be sent. */
export const errorIn = (value: unknown, body: Uint8Array): string | undefined => {
  if (Predicate.hasProperty(value, "error") && Boolean(value.error)) return String(value.error);
  const text = Buffer.from(body.subarray(0, ERROR_SCANNED)).toString();
  return text.startsWith(ERROR_FIRST)
    ? text.slice(ERROR_FIRST.length).replace(/^"|"?\}$/g, "")
    : undefined;
};

/** A text as a part of one line of the log, without control characters, and bounded. */
export const firstLine = (text: string): string => {
  const [line = ""] = text
    .slice(0, ERROR_SCANNED)
    .trim()
    .split(/[\r\n\u2028\u2029]|\\n/, 1);
  const plain = line.replaceAll(/\p{Cc}/gu, " ");
  return plain.length > REASON_SHOWN ? `${plain.slice(0, REASON_SHOWN)}…` : plain;
};

export const inSeconds = (duration: Duration.Duration): string =>
  `${Duration.toSeconds(duration).toFixed(3)} s`;
