/** The most of each end of a tool's output that is examined, in characters. */
const MAX_EXAMINED = 64 * 1024;

/** The most of a tool's output that an error shows, in characters; it is copied into logs and answers. */
const MAX_SHOWN = 8 * 1024;

/** The longest list of names in a message, in characters. */
const MAX_NAMES = 2 * 1024;

/** The beginning and the end of an output, where tools report errors; a build may print any amount in between. */
export const bothEnds = (output: string): string =>
  output.length <= 2 * MAX_EXAMINED
    ? output
    : `${output.slice(0, MAX_EXAMINED)}\n${output.slice(-MAX_EXAMINED)}`;

/** The last lines of a tool's output, at most MAX_SHOWN characters. */
export const lastLines = (output: string, count: number): string => {
  const end = output.slice(-2 * MAX_SHOWN).trim();
  const lines = end.split("\n").slice(-count).join("\n");
  return lines.length > MAX_SHOWN ? `…${lines.slice(-MAX_SHOWN)}` : lines;
};

/** A list of names, with the number of those that do not fit. */
export const namesOf = (names: ReadonlyArray<string>): string => {
  let room = MAX_NAMES;
  const fitting = names.findIndex((name) => {
    room -= name.length + 2;
    return room < 0;
  });
  if (fitting === -1) return names.join(", ");
  const shown = names.slice(0, Math.max(fitting, 1));
  const left = names.length - shown.length;
  return left === 0 ? shown.join(", ") : `${shown.join(", ")} and ${left} more`;
};
