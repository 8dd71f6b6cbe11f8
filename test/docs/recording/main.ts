// Runs the worker and draws docs/recording.svg from its output.
import { readFileSync, writeFileSync } from "node:fs";

import { draw, type Scene } from "./Drawing.ts";
import { recordRun, type TimedLine } from "./Run.ts";

/** The scenes in order, each with its title and requests. The source of the first request is shown. */
const SCENES = [
  { title: "Output arrives while the function runs", requests: ["train"] },
  { title: "Tracebacks show your source lines", requests: ["evaluate"] },
  { title: "A crash fails one call, and the next call works", requests: ["export", "train"] },
] as const;

/** The outcomes of the requests, in order. */
const EXPECTED = "✓✗✗✓";

/** Pause before each request, in seconds. */
const PAUSE = 1.5;

/** The lines of a source, with consecutive empty lines reduced to one. */
const sourceOf = (name: string) =>
  readFileSync(new URL(`${name}.py`, import.meta.url), "utf8")
    .trimEnd()
    .replaceAll(/\n{3,}/g, "\n\n")
    .split("\n")
    .filter((line) => !line.startsWith("# fixture:"));

const lines = await recordRun(SCENES.flatMap(({ requests }) => requests));
const marks = lines.map(({ text }) => /^[✓✗]/u.exec(text)?.[0] ?? "").join("");
if (marks !== EXPECTED) {
  throw new Error(`Unexpected outcomes: ${lines.map(({ text }) => text).join("\n")}`);
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
    "A run of worker-tetra: live output of a function, a traceback with the user's source line, and a crash that does not affect the next call",
  ),
);
