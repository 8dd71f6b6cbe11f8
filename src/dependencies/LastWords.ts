/** The most of each end of a tool's output that is examined, in characters. */
const EXAMINED = 64 * 1024;

/** The most of a tool's output that an error shows, in characters; it is copied into logs and answers. */
const SHOWN = 8 * 1024;

/** The longest list of names in a message, in characters. */
const NAMES_SHOWN = 2 * 1024;

/** The beginning and the end of an output, where tools report errors; a build may print any amount in between. */
export const bothEnds = (output: string): string =>
  output.length <= 2 * EXAMINED
    ? output
    : `${output.slice(0, EXAMINED)}\n${output.slice(-EXAMINED)}`;

/** The last lines of a tool's output, at most SHOWN characters. */
export const lastWords = (output: string, lines: number): string => {
  const end = output.slice(-2 * SHOWN).trim();
  const words = end.split("\n").slice(-lines).join("\n");
  return words.length > SHOWN ? `…${words.slice(-SHOWN)}` : words;
};

/** A list of names, with the number of those that do not fit. */
export const namesOf = (names: ReadonlyArray<string>): string => {
  let room = NAMES_SHOWN;
  const fitting = names.findIndex((name) => {
    room -= name.length + 2;
    return room < 0;
  });
  if (fitting === -1) return names.join(", ");
  const shown = names.slice(0, Math.max(fitting, 1));
  const left = names.length - shown.length;
  return left === 0 ? shown.join(", ") : `${shown.join(", ")} and ${left} more`;
};
