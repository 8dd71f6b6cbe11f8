import { globSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

import { Predicate } from "effect";
import { parseAst } from "rolldown/parseAst";

import { LAYERS } from "./Layers.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A relative import from one file to another, as paths below `src`. */
export interface Import {
  readonly from: string;
  readonly to: string;
}

/** The length of a function, and its position. */
interface FunctionSize {
  readonly file: string;
  readonly line: number;
  readonly lines: number;
}

const IMPORTING = new Set([
  "ImportDeclaration",
  "ExportNamedDeclaration",
  "ExportAllDeclaration",
  "ImportExpression",
]);

const FUNCTIONS = new Set(["FunctionDeclaration", "FunctionExpression", "ArrowFunctionExpression"]);

/** Calls `visit` with every node of a syntax tree. */
const walk = (node: unknown, visit: (node: Readonly<Record<string, unknown>>) => void): void => {
  if (Array.isArray(node)) {
    for (const child of node) walk(child, visit);
    return;
  }
  if (!Predicate.isObject(node)) return;
  const record: Readonly<Record<string, unknown>> = { ...node };
  if (typeof record.type === "string") visit(record);
  for (const child of Object.values(record)) walk(child, visit);
};

/** The module that a node imports, if it is a relative path. */
const importedBy = ({ type, source }: Readonly<Record<string, unknown>>): string | undefined => {
  if (!IMPORTING.has(String(type)) || !Predicate.hasProperty(source, "value")) return undefined;
  const { value } = source;
  return typeof value === "string" && value.startsWith(".") ? value : undefined;
};

/** The imports, functions and sizes of all TypeScript files below `src`. */
export const readStructure = () => {
  const source = join(ROOT, "src");
  const files = globSync("**/*.ts", { cwd: source }).toSorted();
  const imports: Array<Import> = [];
  const functions: Array<FunctionSize> = [];
  const sizes = files.map((file) => {
    const text = readFileSync(join(source, file), "utf8");
    const lineAt = (offset: unknown) => text.slice(0, Number(offset)).split("\n").length;
    walk(parseAst(text, { lang: "ts" }), (node) => {
      const imported = importedBy(node);
      if (imported !== undefined) {
        const path = normalize(join(source, dirname(file), imported));
        imports.push({ from: file, to: relative(source, path) });
      }
      if (FUNCTIONS.has(String(node.type))) {
        const line = lineAt(node.start);
        functions.push({ file, line, lines: lineAt(node.end) - line + 1 });
      }
    });
    return { file, lines: text.split("\n").length - 1 };
  });
  return { files: sizes, imports, functions };
};

/** The top folder of a path below `src`; empty for files directly in `src` and outside of it. */
export const layerOf = (file: string): string => {
  const [folder = ""] = file.split(sep);
  return file.includes(sep) && folder !== ".." ? folder : "";
};

/** Imports from a folder that is higher in `LAYERS`. */
export const upwardImports = (imports: ReadonlyArray<Import>): ReadonlyArray<Import> => {
  const rank = new Map<string, number>(LAYERS.map((layer, index) => [layer, index]));
  return imports.filter(({ from, to }) => {
    const upper = rank.get(layerOf(to));
    const lower = rank.get(layerOf(from));
    return upper !== undefined && lower !== undefined && upper < lower;
  });
};

/** The files of an import cycle; empty if there is none. */
export const cycleIn = (imports: ReadonlyArray<Import>): ReadonlyArray<string> => {
  const next = Map.groupBy(imports, ({ from }) => from);
  const done = new Set<string>();
  const search = (file: string, path: ReadonlyArray<string>): ReadonlyArray<string> => {
    const start = path.indexOf(file);
    if (start !== -1) return path.slice(start);
    if (done.has(file)) return [];
    for (const { to } of next.get(file) ?? []) {
      const cycle = search(to, [...path, file]);
      if (cycle.length > 0) return cycle;
    }
    done.add(file);
    return [];
  };
  for (const file of next.keys()) {
    const cycle = search(file, []);
    if (cycle.length > 0) return cycle;
  }
  return [];
};
