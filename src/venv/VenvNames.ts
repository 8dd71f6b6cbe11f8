/** Folders whose names start with this are being built; nobody uses them. */
export const BUILDING = ".building-";

/** What the name of a virtual environment's folder says. */
export interface VenvName {
  /** Version of Python, such as `3.12.1`. */
  readonly version: string;
  /** Of the interpreter and the image that it was built from. */
  readonly fingerprint: string;
  readonly number: number;
}

const NAME = /^([\d.]+)-([0-9a-f]+)-(\d+)$/;

export const formatVenvName = ({ version, fingerprint, number }: VenvName): string =>
  `${version}-${fingerprint}-${number}`;

/** Undefined for a folder that is no virtual environment of a worker. */
export const parseVenvName = (name: string): VenvName | undefined => {
  const [, version, fingerprint, number] = NAME.exec(name) ?? [];
  return version === undefined || fingerprint === undefined
    ? undefined
    : { version, fingerprint, number: Number(number) };
};
