import { generationTag } from "./leases/Generation.ts";

/** Prefix of folders of venvs that are being built. They are not in use. */
export const BUILDING = ".building-";

/** Prefix of links that are going to replace `.venv`. */
export const LINKING = ".linking-";

/** The parts of the name of a venv's folder. */
export interface VenvName {
  /** Version of Python, such as `3.12.1`. */
  readonly version: string;
  /** Fingerprint of the interpreter and the image that it was built from. */
  readonly fingerprint: string;
  /** The generation of the place in which it was built. */
  readonly generation: number;
  readonly number: number;
}

const NAME = /^([\d.]+)-([0-9a-f]+)-(?:(\d{1,9})\.)?(\d+)$/;

export const formatVenvName = ({ version, fingerprint, generation, number }: VenvName): string =>
  `${version}-${fingerprint}-${generationTag(generation)}${number}`;

/** Undefined if the name is not that of a venv. */
export const parseVenvName = (name: string): VenvName | undefined => {
  const [, version, fingerprint, generation, number] = NAME.exec(name) ?? [];
  return version === undefined || fingerprint === undefined
    ? undefined
    : { version, fingerprint, generation: Number(generation ?? 0), number: Number(number) };
};
