import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join, relative } from "node:path";

/** For each path: the content of a file (marked if it is executable), the target of a link, or that it is a folder. */
export type Listing = Readonly<Record<string, string>>;

const describe = (path: string): string => {
  const info = lstatSync(path);
  if (info.isDirectory()) return "folder";
  if (info.isSymbolicLink()) return `link to ${readlinkSync(path)}`;
  const kind = (info.mode & 0o100) === 0 ? "file" : "program";
  return `${kind}: ${readFileSync(path, "utf8")}`;
};

/** Node's recursive readdir follows links. */
const pathsBelow = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? [path].concat(pathsBelow(path)) : [path];
  });

/** Everything below a folder, without following links. */
export const listing = (folder: string): Listing =>
  Object.fromEntries(
    pathsBelow(folder)
      .map((path) => [relative(folder, path), describe(path)] as const)
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
