/** The part of each end of a tool's output in which errors are searched, in characters. */
const MAX_SEARCHED = 64 * 1024;

/** The maximum length of a tool's output in an error, in characters. Errors are copied into logs and responses. */
const MAX_SHOWN = 8 * 1024;

/** The maximum length of a list of names in a message, in characters. */
const MAX_NAMES = 2 * 1024;

/** The beginning and the end of an output, where tools report errors; a build can print any amount between them. */
export const bothEnds = (output: string): string =>
  output.length <= 2 * MAX_SEARCHED
    ? output
    : `${output.slice(0, MAX_SEARCHED)}\n${output.slice(-MAX_SEARCHED)}`;

/** The last lines of a tool's output, at most MAX_SHOWN characters. */
export const lastLines = (output: string, count: number): string => {
  const end = output.slice(-2 * MAX_SHOWN).trim();
  const lines = end.split("\n").slice(-count).join("\n");
  return lines.length > MAX_SHOWN ? `…${lines.slice(-MAX_SHOWN)}` : lines;
};

/** A list of names within a limit, with the number of omitted names. */
export const namesOf = (names: ReadonlyArray<string>): string => {
  let available = MAX_NAMES;
  const firstOmitted = names.findIndex((name) => {
    available -= name.length + 2;
    return available < 0;
  });
  if (firstOmitted === -1) return names.join(", ");
  const shown = names.slice(0, Math.max(firstOmitted, 1));
  const omitted = names.length - shown.length;
  return omitted === 0 ? shown.join(", ") : `${shown.join(", ")} and ${omitted} more`;
};
