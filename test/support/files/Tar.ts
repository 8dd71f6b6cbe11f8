import { gzipSync } from "node:zlib";

const BLOCK = 512;

/** A member of an archive, with any field, valid or not. */
export interface TarMember {
  readonly name: string | Buffer;
  /** One character, as in the header: `0` for a file, which is the default. */
  readonly type?: string;
  readonly content?: string | Buffer;
  readonly link?: string;
  readonly mode?: number;
  /** In the header; the size of the content by default. */
  readonly size?: string;
  /** In the header. */
  readonly modified?: string;
  readonly prefix?: string;
  readonly magic?: string;
  /** The checksum in the header; the right one by default. */
  readonly checksum?: string;
}

const octal = (value: number, width: number): string =>
  `${value.toString(8).padStart(width - 1, "0")}\0`;

const padded = (bytes: Buffer): Buffer =>
  Buffer.concat([bytes, Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK)]);

/** The blocks of a member. */
export const tarMember = (member: TarMember): Buffer => {
  const { type = "0", link = "", mode = 0o644, prefix = "", magic = "ustar\x0000" } = member;
  const content = Buffer.from(member.content ?? "");
  const header = Buffer.alloc(BLOCK);
  Buffer.from(member.name).copy(header, 0, 0, 100);
  header.write(octal(mode, 8), 100, "latin1");
  header.write(octal(0, 8), 108, "latin1");
  header.write(octal(0, 8), 116, "latin1");
  header.write(member.size ?? octal(content.length, 12), 124, "latin1");
  header.write(member.modified ?? octal(0, 12), 136, "latin1");
  header.write(" ".repeat(8), 148, "latin1");
  header.write(type, 156, "latin1");
  header.write(link, 157, 100, "utf8");
  header.write(magic, 257, "latin1");
  header.write(prefix, 345, 155, "utf8");
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(member.checksum ?? `${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return Buffer.concat([header, padded(content)]);
};

const paxRecord = ([key, value]: readonly [string, string]): string => {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest);
  while (Buffer.byteLength(String(length)) + Buffer.byteLength(rest) !== length) {
    length = Buffer.byteLength(String(length)) + Buffer.byteLength(rest);
  }
  return `${length}${rest}`;
};

/** An extended header of POSIX pax, for the next member, or for all (type `g`). */
export const pax = (records: Readonly<Record<string, string>>, type = "x"): TarMember => ({
  name: "pax",
  type,
  content: Object.entries(records).map(paxRecord).join(""),
});

/** The end of an archive: two blocks of zeros. */
export const TAR_END = Buffer.alloc(2 * BLOCK);

export const tar = (members: ReadonlyArray<TarMember>): Buffer =>
  Buffer.concat([...members.map(tarMember), TAR_END]);

/** A compressed archive. */
export const tarGz = (members: ReadonlyArray<TarMember>): Buffer => gzipSync(tar(members));

/** An archive with these files. */
export const tarGzOf = (files: Readonly<Record<string, string>>): Buffer =>
  tarGz(Object.entries(files).map(([name, content]) => ({ name, content })));
