import { closeSync, mkdtempSync, openSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Result } from "effect";

/** Maximum length of a job's output that is shown. */
const MAX_SHOWN_CHARACTERS = 4 * 1024 * 1024;

const note = (sentence: string) => `[worker-tetra] ${sentence}\n`;

/** The worker's own notes, which follow the output. */
const NOTES = /(?:^\[worker-tetra\] .*\n?)+(?![\s\S])/m;

/** Writes all bytes: a single write may be partial. */
const writeAll = (file: number, text: string) => {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at);
};

/**
 * Shows a job's output live, up to MAX_SHOWN_CHARACTERS. Longer output is written in full to a file that only this user
 * can read, and the path of the file is shown.
 */
export const jobOutput = (show: (lines: string) => void) => {
  let shown = "";
  let size = 0;
  let outputFile: { readonly path: string; readonly file: number } | undefined;
  let failure: string | undefined;

  const attempt = (write: () => void) => {
    const written = Result.try({ try: write, catch: String });
    if (Result.isFailure(written)) {
      failure = written.failure;
      show(note(`The rest of the output is lost. Could not write it to a file: ${failure}`));
    }
  };

  const writeToFile = (lines: string) => {
    if (failure !== undefined) return;
    attempt(() => {
      if (outputFile === undefined) {
        const path = join(mkdtempSync(join(tmpdir(), "worker-tetra-output-")), "output.txt");
        outputFile = { path, file: openSync(path, "wx", 0o600) };
        show(note(`Large output: the rest is only written to ${path}`));
        writeAll(outputFile.file, shown);
      }
      writeAll(outputFile.file, lines);
    });
  };

  return {
    output: (lines: string): void => {
      size += lines.length;
      if (size > MAX_SHOWN_CHARACTERS) return writeToFile(lines);
      shown += lines;
      show(lines);
    },
    /** Shows the part of the response's output that was not shown live, such as notes, and the path of the file if any. */
    end: (stdout: string): void => {
      const whole = shown.replace(/\n$/, "");
      const rest =
        outputFile === undefined && failure === undefined && stdout.startsWith(whole)
          ? stdout.slice(whole.length).replace(/^\n/, "")
          : (NOTES.exec(stdout)?.[0] ?? "");
      if (rest !== "") show(rest);
      if (outputFile === undefined) return;
      closeSync(outputFile.file);
      if (failure === undefined) show(note(`The full output is in ${outputFile.path}`));
    },
  };
};
