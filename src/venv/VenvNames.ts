/** Prefix of folders of venvs that are being built. They are not in use. */
export const BUILDING = ".building-";

/** The parts of the name of a venv's folder. */
export interface VenvName {
  /** Version of Python, such as `3.12.1`. */
  readonly version: string;
  /** Fingerprint of the interpreter and the image that it was built from. */
  readonly fingerprint: string;
  readonly number: number;
}

const NAME = /^([\d.]+)-([0-9a-f]+)-(\d+)$/;

export const formatVenvName = ({ version, fingerprint, number }: VenvName): string =>
  `${version}-${fingerprint}-${number}`;

/** Undefined if the name is not that of a venv. */
export const parseVenvName = (name: string): VenvName | undefined => {
  const [, version, fingerprint, number] = NAME.exec(name) ?? [];
  return version === undefined || fingerprint === undefined
    ? undefined
    : { version, fingerprint, number: Number(number) };
};
