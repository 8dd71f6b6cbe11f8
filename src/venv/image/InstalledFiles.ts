/** File paths as a tree. A file has no children. */
export interface FileTree extends Map<string, FileTree> {}

/** Adds a path such as `torch/lib/a.so`. */
export const addFile = (tree: FileTree, file: string): void => {
  let node = tree;
  for (const part of file.split("/")) {
    const next: FileTree = node.get(part) ?? new Map();
    node.set(part, next);
    node = next;
  }
};

/**
 * The files of a package by its RECORD (https://packaging.python.org/en/latest/specifications/recording-installed-packages/):
 * the first column of a CSV file. Files outside of site-packages, such as scripts, are left out.
 */
export const filesInRecord = (record: string): ReadonlyArray<string> =>
  record
    .split("\n")
    .map((line) => /^"((?:[^"]|"")*)"|^([^,\r]*)/.exec(line))
    .map((found) => found?.[1]?.replaceAll('""', '"') ?? found?.[2] ?? "")
    .filter((file) => file !== "" && !file.startsWith("..") && !file.startsWith("/"));
