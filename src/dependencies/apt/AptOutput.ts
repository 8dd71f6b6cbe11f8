import type { Archive } from "./AptCache.ts";
import { notLocated, versionNotFound } from "./SystemInstallFailed.ts";

/** A line of `apt-get --print-uris`: the quoted URL, the file name, the size and the digest. */
const ARCHIVE = /^'[^']*' ([^\s/]+\.deb) (\d+) SHA256:([0-9a-f]{64})$/gm;

/** The archives with a SHA-256 digest in the output of `apt-get --print-uris`. */
export const archivesOf = (output: string): ReadonlyArray<Archive> =>
  [...output.matchAll(ARCHIVE)].map(([, file = "", size = "", sha256 = ""]) => ({
    file,
    size: Number(size),
    sha256,
  }));

/** A version in the output of `apt-cache policy`. Lines of mirrors begin with more spaces. */
const VERSION = /^ (?:\*{3}| {3}) (\S+)/gm;

/** The versions of each package in the output of `apt-cache policy`; a virtual package has none. */
const versionsOf = (policy: string): ReadonlyMap<string, ReadonlyArray<string | undefined>> =>
  new Map(
    policy
      .split(/^(?=\S)/m)
      .map((part) => [
        part.slice(0, part.indexOf(":\n")),
        [...part.matchAll(VERSION)].map(([, version]) => version),
      ]),
  );

/** apt's error messages for names and versions that are missing in the output of `apt-cache policy`. */
export const problemsOf = (names: ReadonlyArray<string>, policy: string): string => {
  const known = versionsOf(policy);
  return names
    .flatMap((wanted) => {
      const [name = wanted, version] = wanted.split("=");
      const versions = known.get(name) ?? known.get(name.replace(/:.*/, ""));
      if (versions === undefined) return [notLocated(name)];
      return version === undefined || versions.includes(version)
        ? []
        : [versionNotFound(name, version)];
    })
    .join("\n");
};
