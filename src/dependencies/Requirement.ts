import { Effect, Schema } from "effect";

import { withoutCredentials } from "../settings/Credentials.ts";

/** A longer list is a mistake or an attack. */
const MAX_REQUIREMENTS = 512;

/** Enough for a requirement with markers and a URL. */
const MAX_REQUIREMENT_CHARACTERS = 2048;

/** A requirement that is not passed to an installer; nothing was installed. */
export class RequirementRejected extends Schema.TaggedError<RequirementRejected>()(
  "RequirementRejected",
  {
    /** The name of the request's field. */
    field: Schema.Literals(["dependencies", "system_dependencies"]),
    requirement: Schema.String,
    reason: Schema.String,
  },
) {
  override get message(): string {
    const requirement = JSON.stringify(withoutCredentials(this.requirement));
    return `"${this.field}" can't be installed: ${requirement} ${this.reason}.`;
  }
}

/** PEP 508: a name, extras, versions or a URL, and a marker. Multiple spaces were replaced by one. */
const NAME = "[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?";
const EXTRAS = `(?: ?\\[ ?(?:${NAME}(?: ?, ?${NAME})*)? ?\\])?`;
const VERSION = "(?:===|~=|==|!=|<=|>=|<|>) ?[A-Za-z0-9.*+!_-]+";
const VERSIONS = `${VERSION}(?: ?, ?${VERSION})*(?: ?,)?`;
const MARKER = "(?: ?;[^#]*)?";
const URL_PATTERN = String.raw`(?:git\+(?:https?|ssh)|https?)://[^\s;]+`;

const BY_VERSION = new RegExp(
  `^(${NAME})${EXTRAS} ?(?:\\( ?${VERSIONS} ?\\)|${VERSIONS})?${MARKER}$`,
);
const BY_URL = new RegExp(`^(?:(${NAME})${EXTRAS} ?@ ?)?${URL_PATTERN}(?: ;[^#]*)?$`);

/** Installers read such a name as a file in the current directory, also with extras or a marker. */
const ARCHIVE = /\.(?:whl|zip|egg|tar(?:\.[a-z0-9]+)?|t(?:gz|bz2?|xz|lz|zst))$/i;

/** The name of a Debian package, optionally with an architecture and a version. */
const DEBIAN = /^[a-z0-9][a-z0-9+.-]+(?::[a-z0-9-]+)?(?:=[A-Za-z0-9.+:~-]+)?$/;

/** Control characters, line breaks, invisible characters, lone surrogates, and spaces other than U+0020. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]|(?! )\p{Zs}/u;

/** A requirement that is a local path instead of a package. */
const LOCAL = /^[./~]|^file:|@ ?(?:file:|[./~])|\\/i;

const reject = (
  field: RequirementRejected["field"],
  requirement: string,
  reason: string,
): RequirementRejected => new RequirementRejected({ field, requirement, reason });

const findInvalidEntry = (
  field: RequirementRejected["field"],
  names: ReadonlyArray<string>,
): RequirementRejected | undefined => {
  if (names.length > MAX_REQUIREMENTS) {
    return reject(
      field,
      `${names.length} entries`,
      `are too many: the limit is ${MAX_REQUIREMENTS}`,
    );
  }
  for (const name of names) {
    // The entry is not shown: a part of a password would not be recognized as a credential.
    if (name.length > MAX_REQUIREMENT_CHARACTERS)
      return reject(
        field,
        `an entry of ${name.length} characters`,
        `is too long: the limit is ${MAX_REQUIREMENT_CHARACTERS} characters`,
      );
    if (UNPRINTABLE.test(name))
      return reject(field, name, "contains a line break, a control character or an unusual space");
    if (name.trim() === "") return reject(field, name, "is empty");
    if (name.trim().startsWith("-"))
      return reject(field, name, "is an option of the installer, not a package");
  }
  return undefined;
};

/** Why a requirement is invalid; undefined if it is valid. */
const problemOf = (text: string): string | undefined => {
  const spaced = text.replaceAll(/\s+/g, " ");
  const found = BY_VERSION.exec(spaced) ?? BY_URL.exec(spaced);
  if (found !== null) {
    return ARCHIVE.test(found[1] ?? "")
      ? "is the name of an archive, which the installer would read from a local file. Use a package name with a version, such as numpy==2.0, or the URL of the archive"
      : undefined;
  }
  return LOCAL.test(spaced)
    ? "is a local path. Use a package name, a URL or a git repository, or send local code in `modules`"
    : "is not a valid requirement (PEP 508), such as numpy>=2 or package[extra]==1.0; python_version<'3.12'";
};

/**
 * The Python requirements of a job, trimmed, sorted and without duplicates. Accepts all forms of PEP 508 (names,
 * versions, extras, markers, URLs, git), and rejects everything that an installer could read as an option, a file or a
 * second line.
 */
export const pythonRequirements = Effect.fnUntraced(function* (
  names: ReadonlyArray<string>,
): Effect.fn.Return<ReadonlyArray<string>, RequirementRejected> {
  const field = "dependencies";
  const invalid = findInvalidEntry(field, names);
  if (invalid !== undefined) return yield* invalid;
  const requirements = names.map((name) => name.trim());
  for (const text of requirements) {
    const problem = problemOf(text);
    if (problem !== undefined) return yield* reject(field, text, problem);
  }
  return [...new Set(requirements)].toSorted();
});

/** The Debian packages of a job, trimmed, sorted and without duplicates. */
export const systemPackages = Effect.fnUntraced(function* (
  names: ReadonlyArray<string>,
): Effect.fn.Return<ReadonlyArray<string>, RequirementRejected> {
  const field = "system_dependencies";
  const invalid = findInvalidEntry(field, names);
  if (invalid !== undefined) return yield* invalid;
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
