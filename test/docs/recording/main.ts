// Runs the worker and draws docs/recording.svg from its output.
import { readFileSync, writeFileSync } from "node:fs";

import { draw, type Scene } from "./Drawing.ts";
import { recordRun, type TimedLine } from "./Run.ts";

/** What the recording shows, in order: a title and the requests, of which the first one's source is shown. */
const SCENES = [
  { title: "Output arrives while the function runs", requests: ["train"] },
  { title: "Tracebacks show your source lines", requests: ["evaluate"] },
  { title: "A crash fails one call, and the next call works", requests: ["export", "train"] },
] as const;

/** How these requests end. */
const EXPECTED = "✓✗✗✓";

/** A pause before each request, in seconds, so that a reader can follow. */
const PAUSE = 1.5;

/** The lines of a source, with one empty line at most between others. */
const sourceOf = (name: string) =>
  readFileSync(new URL(`${name}.py`, import.meta.url), "utf8")
    .trimEnd()
    .replaceAll(/\n{3,}/g, "\n\n")
    .split("\n")
    .filter((line) => !line.startsWith("# fixture:"));

const lines = await recordRun(SCENES.flatMap(({ requests }) => requests));
const marks = lines.map(({ text }) => /^[✓✗]/u.exec(text)?.[0] ?? "").join("");
if (marks !== EXPECTED) {
  throw new Error(`The run ended differently: ${lines.map(({ text }) => text).join("\n")}`);
}
const outputs: Array<Array<TimedLine>> = [];
for (const { seconds, text } of lines) {
  if (text.startsWith("▶")) outputs.push([]);
  outputs.at(-1)?.push({ text, seconds: seconds + outputs.length * PAUSE });
}
const scenes = SCENES.map(({ title, requests }): Scene => ({
  title,
  source: sourceOf(requests[0]),
  output: outputs.splice(0, requests.length).flat(),
}));
writeFileSync(
  "docs/recording.svg",
  draw(
    scenes,
    "A run of worker-tetra: a function whose output appears while it runs, a traceback with the user's own line, and a crash that the next call survives",
  ),
);
