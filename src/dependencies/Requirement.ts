import { Effect, Schema } from "effect";

import { withoutCredentials } from "../settings/Credentials.ts";

/** More than any real job asks for; a longer list is a mistake or an attack. */
const LONGEST_LIST = 512;

/** Longer than any requirement with markers and a URL. */
const LONGEST_NAME = 2048;

/** A job asks for something that must not reach an installer; nothing was installed. */
export class RequirementRejected extends Schema.TaggedError<RequirementRejected>()(
  "RequirementRejected",
  {
    /** The field of the request. */
    field: Schema.Literals(["dependencies", "system_dependencies"]),
    requirement: Schema.String,
    reason: Schema.String,
  },
) {
  override get message(): string {
    const shown = JSON.stringify(withoutCredentials(this.requirement));
    return `"${this.field}" can't be installed: ${shown} ${this.reason}.`;
  }
}

/** PEP 508: a name, extras, then versions or an address, then a marker; runs of spaces count as one. */
const NAME = "[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?";
const EXTRAS = `(?: ?\\[ ?(?:${NAME}(?: ?, ?${NAME})*)? ?\\])?`;
const VERSION = "(?:===|~=|==|!=|<=|>=|<|>) ?[A-Za-z0-9.*+!_-]+";
const VERSIONS = `${VERSION}(?: ?, ?${VERSION})*(?: ?,)?`;
const MARKER = "(?: ?;[^#]*)?";
const ADDRESS = String.raw`(?:git\+(?:https?|ssh)|https?)://[^\s;]+`;

const BY_VERSION = new RegExp(
  `^(${NAME})${EXTRAS} ?(?:\\( ?${VERSIONS} ?\\)|${VERSIONS})?${MARKER}$`,
);
const BY_ADDRESS = new RegExp(`^(?:(${NAME})${EXTRAS} ?@ ?)?${ADDRESS}(?: ;[^#]*)?$`);

/** Installers take such a name for a file in the current directory, with or without extras and a marker. */
const ARCHIVE = /\.(?:whl|zip|egg|tar(?:\.[a-z0-9]+)?|t(?:gz|bz2?|xz|lz|zst))$/i;

/** Debian's rule for names of packages, with an architecture and a version. */
const DEBIAN = /^[a-z0-9][a-z0-9+.-]+(?::[a-z0-9-]+)?(?:=[A-Za-z0-9.+:~-]+)?$/;

/** Control characters, line breaks, characters that can't be seen, halves of characters, and other spaces. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]|(?! )\p{Zs}/u;

/** Where a requirement names a file instead of a package. */
const LOCAL = /^[./~]|^file:|@ ?(?:file:|[./~])|\\/i;

const reject = (
  field: RequirementRejected["field"],
  requirement: string,
  reason: string,
): RequirementRejected => new RequirementRejected({ field, requirement, reason });

const plain = (
  field: RequirementRejected["field"],
  names: ReadonlyArray<string>,
): RequirementRejected | undefined => {
  if (names.length > LONGEST_LIST) {
    return reject(
      field,
      `${names.length} entries`,
      `are too many: at most ${LONGEST_LIST} are taken`,
    );
  }
  for (const name of names) {
    // Not cut: half of a password would no longer be recognised as one.
    if (name.length > LONGEST_NAME)
      return reject(
        field,
        `an entry of ${name.length} characters`,
        `is too long for a requirement: the limit is ${LONGEST_NAME}`,
      );
    if (UNPRINTABLE.test(name))
      return reject(field, name, "has a line break, a control character or an unusual space in it");
    if (name.trim() === "") return reject(field, name, "is empty");
    if (name.trim().startsWith("-"))
      return reject(field, name, "would be an option of the installer, not a package");
  }
  return undefined;
};

/** Why a text must not be passed to an installer; undefined if it is a valid requirement. */
const problemOf = (text: string): string | undefined => {
  const spaced = text.replaceAll(/\s+/g, " ");
  const found = BY_VERSION.exec(spaced) ?? BY_ADDRESS.exec(spaced);
  if (found !== null) {
    return ARCHIVE.test(found[1] ?? "")
      ? "is the name of an archive, which an installer would look for among local files: name the package and a version, such as numpy==2.0, or the archive's address"
      : undefined;
  }
  return LOCAL.test(spaced)
    ? "is a file on some machine: name a package, an address or a git repository, or send local code in `modules`"
    : "is not a valid requirement (PEP 508), such as numpy>=2 or package[extra]==1.0; python_version<'3.12'";
};

/**
 * The Python requirements of a job, trimmed and in order, each once. Anything that PEP 508 allows passes
 * (names, versions, extras, markers, addresses, git), and nothing that an installer could take for an option,
 * a file or a second line.
 */
export const pythonRequirements = Effect.fnUntraced(function* (
  names: ReadonlyArray<string>,
): Effect.fn.Return<ReadonlyArray<string>, RequirementRejected> {
  const field = "dependencies";
  const wrong = plain(field, names);
  if (wrong !== undefined) return yield* wrong;
  const requirements = names.map((name) => name.trim());
  for (const text of requirements) {
    const problem = problemOf(text);
    if (problem !== undefined) return yield* reject(field, text, problem);
  }
  return [...new Set(requirements)].toSorted();
});

/** The Debian packages of a job, in order, each once. */
export const systemPackages = Effect.fnUntraced(function* (
  names: ReadonlyArray<string>,
): Effect.fn.Return<ReadonlyArray<string>, RequirementRejected> {
  const field = "system_dependencies";
  const wrong = plain(field, names);
  if (wrong !== undefined) return yield* wrong;
  const packages = names.map((name) => name.trim());
  for (const name of packages) {
    if (name.endsWith("-")) {
      return yield* reject(field, name, "would make apt remove a package instead of installing it");
    }
    if (DEBIAN.test(name)) continue;
    return yield* reject(
      field,
      name,
      "is not the exact name of a Debian package, such as ffmpeg, libc6:amd64 or curl=7.88.1-10 (patterns, releases, tasks and files are not accepted)",
    );
  }
  return [...new Set(packages)].toSorted();
});
