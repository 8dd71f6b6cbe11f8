// The program of a checkout as a bundle, which starts faster than its 300 source files: Node strips the types of each.
import { execFileSync } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { join } from "node:path";

/** Running programs load modules from their bundle on demand, so the bundles of earlier sources are kept for a day. */
const KEEP_MS = 24 * 60 * 60 * 1000;

/** What a bundle depends on. Its Python code is not part of it: the bundle has a link to the sources. */
const inputsOf = (root) => [
  ".rolldown.mjs",
  "package.json",
  "package-lock.json",
  "node_modules/.package-lock.json",
  ...readdirSync(join(root, "src"), { recursive: true })
    .filter((path) => /\.(ts|mjs|json)$/.test(path))
    .toSorted()
    .map((path) => join("src", path)),
];

/** Changes with every write to an input: a change time, unlike a modification time, can't be set by programs. */
const keyOf = (root) => {
  const hash = createHash("sha256").update(process.version);
  for (const path of inputsOf(root)) {
    const stat = statSync(join(root, path), { bigint: true, throwIfNoEntry: false });
    hash.update(`\0${path}\0${stat?.ctimeNs}\0${stat?.ino}\0${stat?.size}`);
  }
  return hash.digest("hex").slice(0, 16);
};

const removeOld = (cache) => {
  for (const name of readdirSync(cache)) {
    const folder = join(cache, name);
    const { mtimeMs = Infinity } = statSync(folder, { throwIfNoEntry: false }) ?? {};
    if (Date.now() - mtimeMs > KEEP_MS) rmSync(folder, { recursive: true, force: true });
  }
};

/** Builds aside, then renames: of two starts at once, both use what the first renamed. */
const build = (root, cache, folder) => {
  mkdirSync(cache, { recursive: true });
  removeOld(cache);
  const temporary = join(cache, `.building-${randomUUID()}`);
  try {
    execFileSync(
      process.execPath,
      [
        join(root, "node_modules/rolldown/bin/cli.mjs"),
        "-c",
        ".rolldown.mjs",
        "-d",
        join(temporary, "lib"),
      ],
      { cwd: root, stdio: "ignore" },
    );
    for (const name of ["bin.mjs", "preflight.mjs"]) {
      cpSync(join(root, "src", name), join(temporary, name));
    }
    symlinkSync(join(root, "src/python"), join(temporary, "python"));
    // Sources that were written meanwhile may be in it in part.
    if (!folder.endsWith(keyOf(root))) return;
    renameSync(temporary, folder);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
};

/**
 * The entry point of the bundle of these sources, which is built if necessary. Undefined if it can't be built: without
 * the development dependencies, in a folder that is not writable, or with sources that have errors.
 */
export const cachedBundle = (root) => {
  const cache = join(root, "node_modules/.cache/worker-tetra");
  const folder = join(cache, keyOf(root));
  const entry = join(folder, "bin.mjs");
  if (existsSync(entry)) return entry;
  if (!existsSync(join(root, "node_modules/rolldown"))) return undefined;
  try {
    build(root, cache, folder);
  } catch {
    // Run from the sources, which report their errors. Or another start was first.
  }
  return existsSync(entry) ? entry : undefined;
};
