import { Effect, Schema } from "effect";

import { withoutCredentials } from "../settings/Credentials.ts";
import { excerpt } from "../settings/Excerpt.ts";

/** More than any real job asks for; a longer list is a mistake or an attack. */
const LONGEST_LIST = 512;

/** Longer than any requirement with markers and a URL. */
const LONGEST_NAME = 2048;

/** What an error shows of a requirement, in characters. */
const SHOWN = 200;

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
    return `"${this.field}" can't be installed: ${JSON.stringify(this.requirement)} ${this.reason}.`;
  }
}

/** PEP 508: a name, extras, then versions or an address, then a marker. */
const NAME = String.raw`[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?`;
const EXTRAS = String.raw`(?:\s*\[\s*(?:${NAME}(?:\s*,\s*${NAME})*)?\s*\])?`;
const VERSION = String.raw`(?:===|~=|==|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+`;
const VERSIONS = String.raw`${VERSION}(?:\s*,\s*${VERSION})*\s*,?`;
const MARKER = String.raw`(?:\s*;[^#]*)?`;
const ADDRESS = String.raw`(?:git\+(?:https?|ssh)|https?)://[^\s;]+`;

const BY_VERSION = new RegExp(
  String.raw`^${NAME}${EXTRAS}\s*(?:\(\s*${VERSIONS}\s*\)|${VERSIONS})?${MARKER}$`,
);
const BY_ADDRESS = new RegExp(String.raw`^(?:${NAME}${EXTRAS}\s*@\s*)?${ADDRESS}(?:\s+;[^#]*)?$`);

/** Debian's rule for names of packages, with an architecture and a version. */
const DEBIAN = /^[a-z0-9][a-z0-9+.-]*(?::[a-z0-9-]+)?(?:=[A-Za-z0-9.+:~-]+)?$/;

// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const CONTROL = /[\u0000-\u001f\u007f\u2028\u2029]/;

const reject = (
  field: RequirementRejected["field"],
  requirement: string,
  reason: string,
): RequirementRejected =>
  new RequirementRejected({
    field,
    // An address that was cut before its host would not be known for one.
    requirement: excerpt(withoutCredentials(requirement), SHOWN),
    reason,
  });

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
    if (name.length > LONGEST_NAME) return reject(field, name, "is too long to be a requirement");
    if (CONTROL.test(name))
      return reject(field, name, "has a line break or a control character in it");
    if (name.trim() === "") return reject(field, name, "is empty");
    if (name.trim().startsWith("-"))
      return reject(field, name, "would be an option of the installer, not a package");
  }
  return undefined;
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
  for (const name of names) {
    const text = name.trim();
    if (BY_VERSION.test(text) || (BY_ADDRESS.test(text) && text.isWellFormed())) continue;
    const isPath = /^[./~]|^file:|@\s*(?:file:|[./~])|\\/.test(text);
    return yield* reject(
      field,
      name,
      isPath
        ? "is a file on some machine: name a package, an address or a git repository, or send local code in `modules`"
        : "is no requirement as PEP 508 has it, such as numpy>=2 or package[extra]==1.0; python_version<'3.12'",
    );
  }
  return [...new Set(names.map((name) => name.trim()))].toSorted();
});

/** The Debian packages of a job, in order, each once. */
export const systemPackages = Effect.fnUntraced(function* (
  names: ReadonlyArray<string>,
): Effect.fn.Return<ReadonlyArray<string>, RequirementRejected> {
  const field = "system_dependencies";
  const wrong = plain(field, names);
  if (wrong !== undefined) return yield* wrong;
  for (const name of names) {
    const text = name.trim();
    // A minus at the end makes apt remove the package.
    if (DEBIAN.test(text) && !text.endsWith("-")) continue;
    return yield* reject(field, name, "is no name of a Debian package, such as ffmpeg or libgl1");
  }
  return [...new Set(names.map((name) => name.trim()))].toSorted();
});
