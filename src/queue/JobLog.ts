import { Duration, Predicate } from "effect";

/** The maximum length of an error in a log line. */
const MAX_REASON_CHARACTERS = 300;

/** Only this many bytes of a body, or characters of a text, are searched for an error. */
const MAX_SCANNED = 16 * 1024;

const ERROR_PREFIX = '{"error":';

/** The error in a job's result, if any: from the handler's value, or else from the body that is sent. */
export const errorIn = (value: unknown, body: Uint8Array): string | undefined => {
  if (Predicate.hasProperty(value, "error") && Boolean(value.error)) {
    return typeof value.error === "string" ? value.error : JSON.stringify(value.error);
  }
  const text = Buffer.from(body.subarray(0, MAX_SCANNED)).toString();
  return text.startsWith(ERROR_PREFIX)
    ? text.slice(ERROR_PREFIX.length).replace(/^"|"?\}$/g, "")
    : undefined;
};

/** The first line of a text for the log, truncated and without control characters. */
export const firstLine = (text: string): string => {
  const [line = ""] = text
    .slice(0, MAX_SCANNED)
    .trim()
    .split(/[\r\n\u2028\u2029]|\\n/, 1);
  const plain = line.replaceAll(/\p{Cc}/gu, " ");
  return plain.length > MAX_REASON_CHARACTERS ? `${plain.slice(0, MAX_REASON_CHARACTERS)}…` : plain;
};

export const formatSeconds = (duration: Duration.Duration): string =>
  `${Duration.toSeconds(duration).toFixed(3)} s`;
