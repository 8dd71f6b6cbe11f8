/** Examined of each end of what a tool wrote: characters. */
const EXAMINED = 64 * 1024;

/** More would not be read, and goes through every log and answer: characters. */
const SHOWN = 8 * 1024;

/** Names in a message: characters. */
const NAMES_SHOWN = 2 * 1024;

/** The beginning and the end, where tools say why they failed; a build may print any amount between. */
export const bothEnds = (output: string): string =>
  output.length <= 2 * EXAMINED
    ? output
    : `${output.slice(0, EXAMINED)}\n${output.slice(-EXAMINED)}`;

/** The last lines of what a tool wrote, as far as people read them. */
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
