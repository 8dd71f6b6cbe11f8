import { dirname } from "node:path";

import { LAYERS } from "./Layers.ts";
import { cycleIn, layerOf, readStructure, upwardImports } from "./Structure.ts";

/** Number of listed functions and files. */
const LISTED = 5;

const { files, imports, functions } = readStructure();

const counts = new Map<string, number>();
for (const { from, to } of imports) {
  const edge = `${layerOf(from)} ${layerOf(to)}`;
  counts.set(edge, (counts.get(edge) ?? 0) + 1);
}

console.log("Imports between the folders of src, from the top down:");
for (const layer of LAYERS) {
  const below = LAYERS.filter((other) => other !== layer && counts.has(`${layer} ${other}`));
  const own = files.filter(({ file }) => layerOf(file) === layer);
  const lines = own.reduce((sum, file) => sum + file.lines, 0);
  const arrows = below.map((other) => `${other} ${counts.get(`${layer} ${other}`)}`).join(", ");
  console.log(`  ${layer.padEnd(13)} ${own.length} files, ${lines} lines -> ${arrows}`);
}

const upward = upwardImports(imports);
const cycle = cycleIn(imports);
console.log(`Upward imports: ${upward.length}`);
for (const { from, to } of upward) console.log(`  ${from} -> ${to}`);
console.log(`Import cycle: ${cycle.length === 0 ? "none" : cycle.join(" -> ")}`);

console.log("Longest functions:");
for (const { file, line, lines } of functions
  .toSorted((one, other) => other.lines - one.lines)
  .slice(0, LISTED)) {
  console.log(`  ${lines} lines: ${file}:${line}`);
}
console.log("Longest files:");
for (const { file, lines } of files
  .toSorted((one, other) => other.lines - one.lines)
  .slice(0, LISTED)) {
  console.log(`  ${lines} lines: ${file}`);
}
const folders = Map.groupBy(files, ({ file }) => dirname(file));
const [largest] = [...folders].toSorted(([, one], [, other]) => other.length - one.length);
if (largest !== undefined) console.log(`Largest folder: ${largest[0]}, ${largest[1].length} files`);
if (upward.length > 0 || cycle.length > 0) process.exitCode = 1;
