import { globSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

/** Paths of the documentation, relative to the project's folder. */
export const DOCUMENTS = globSync([
  "*.md",
  "docs/**/*.md",
  ".github/*.md",
  ".github/ISSUE_TEMPLATE/*.md",
]).toSorted();

export const textOf = (document: string): string => readFileSync(document, "utf8");

const withoutCode = (text: string) =>
  text.replaceAll(/^ *```[^]*?^ *```$/gm, "").replaceAll(/`[^`\n]*`/g, "");

/** GitHub's anchors for the headings of a text. */
const anchorsOf = (text: string): ReadonlySet<string> => {
  const anchors = new Set<string>();
  const headings = text.replaceAll(/^ *```[^]*?^ *```$/gm, "").matchAll(/^#{1,6} +(.+)$/gm);
  for (const [, heading = ""] of headings) {
    const slug = heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .trim()
      .replaceAll(" ", "-");
    let anchor = slug;
    for (let count = 1; anchors.has(anchor); count++) anchor = `${slug}-${count}`;
    anchors.add(anchor);
  }
  return anchors;
};

const exists = (path: string) => statSync(path, { throwIfNoEntry: false }) !== undefined;

const brokenIn = (document: string, text: string, target: string): boolean => {
  const [path = "", anchor] = target.split("#");
  const file = path === "" ? document : normalize(join(dirname(document), path));
  if (!exists(file)) return true;
  if (anchor === undefined) return false;
  return !anchorsOf(file === document ? text : textOf(file)).has(anchor);
};

/** Relative links to files or headings that do not exist. */
export const brokenLinks = (document: string, text: string): ReadonlyArray<string> =>
  [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = ""]) => target)
    .filter((target) => !/^[a-z]+:/.test(target) && brokenIn(document, text, target));
