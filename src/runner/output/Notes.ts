import { excerpt } from "../../settings/Excerpt.ts";

/** Limits for the notes in a response. */
const MAX_NOTES = 100;
const MAX_NOTE_CHARACTERS = 4096;

/** Limits for the names of threads in a note. */
const MAX_THREADS = 21;
const MAX_NAME_CHARACTERS = 100;

type Mask = (text: string) => string;

/** The beginning of a name, without line breaks and control characters. */
const oneLine = (name: string): string =>
  name.slice(0, MAX_NAME_CHARACTERS).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?");

const note = (sentence: string) => `[worker-tetra] ${sentence}\n`;

/** Appends notes to the output of a call, one per line. */
export const withNotes = (output: string, notes: ReadonlyArray<string>, mask: Mask): string => {
  if (notes.length === 0) return output;
  const separator = output === "" || output.endsWith("\n") ? "" : "\n";
  const shown = notes.slice(0, MAX_NOTES).map((text) => excerpt(mask(text), MAX_NOTE_CHARACTERS));
  if (notes.length > MAX_NOTES) shown.push(`${notes.length - MAX_NOTES} more notes`);
  return output + separator + shown.map(note).join("");
};

/** The names of threads for a note, masked before they are cut. */
export const threadNames = (names: ReadonlyArray<string>, mask: Mask): ReadonlyArray<string> =>
  names.slice(0, MAX_THREADS).map((name) => oneLine(mask(name)));
