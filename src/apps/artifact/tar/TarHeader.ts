import { ArchiveBroken } from "./ArchiveError.ts";

/** Archives consist of blocks of this size, in bytes. */
export const BLOCK = 512;

/** The fields of a header, as in POSIX ustar; names are bytes, since their encoding is checked later. */
export interface TarHeader {
  readonly name: Buffer;
  readonly linkName: Buffer;
  /** One character, such as `5` for a folder. */
  readonly type: string;
  /** Of the content, in bytes. */
  readonly size: number;
  readonly mode: number;
  /** When the file was modified, in seconds since 1970; 0 if that is not known. */
  readonly modified: number;
}

/** Bytes up to the first NUL. */
export const untilNul = (field: Buffer): Buffer => {
  const end = field.indexOf(0);
  return end === -1 ? field : field.subarray(0, end);
};

/** Octal digits, or a big-endian number whose first bit is set (GNU, for large values). */
const numberIn = (field: Buffer, what: string): number => {
  if ((field[0] ?? 0) & 0x80) {
    const value = field.subarray(1).reduce((sum, byte) => sum * 256 + byte, (field[0] ?? 0) & 0x7f);
    if (Number.isSafeInteger(value)) return value;
    throw new ArchiveBroken({ reason: `has a header with an invalid ${what}` });
  }
  const digits = untilNul(field).toString("latin1").trim();
  if (!/^[0-7]*$/.test(digits)) {
    throw new ArchiveBroken({ reason: `has a header with an invalid ${what}` });
  }
  return digits === "" ? 0 : Number.parseInt(digits, 8);
};

const CHECKSUM = { start: 148, end: 156 };
const SPACE = 0x20;

/** Sums all bytes; those of the checksum itself count as spaces. Some old programs sum signed bytes. */
const hasValidChecksum = (block: Buffer): boolean => {
  const expected = numberIn(block.subarray(CHECKSUM.start, CHECKSUM.end), "checksum");
  let unsigned = 0;
  let signed = 0;
  for (let index = 0; index < BLOCK; index += 1) {
    const isOwn = index >= CHECKSUM.start && index < CHECKSUM.end;
    unsigned += isOwn ? SPACE : block.readUInt8(index);
    signed += isOwn ? SPACE : block.readInt8(index);
  }
  return expected === unsigned || expected === signed;
};

export const isZero = (bytes: Buffer): boolean => bytes.every((byte) => byte === 0);

/** Parses the header of a member. */
export const parseHeader = (block: Buffer): TarHeader => {
  if (!hasValidChecksum(block)) {
    throw new ArchiveBroken({ reason: "has a header with a wrong checksum" });
  }
  // Only ustar has a prefix of the name there. GNU's magic is "ustar  ", and it stores times instead.
  const isUstar = block.toString("latin1", 257, 263) === "ustar\0";
  const name = untilNul(block.subarray(0, 100));
  const prefix = isUstar ? untilNul(block.subarray(345, 500)) : Buffer.alloc(0);
  return {
    name: prefix.length === 0 ? name : Buffer.concat([prefix, Buffer.from("/"), name]),
    linkName: untilNul(block.subarray(157, 257)),
    type: block.toString("latin1", 156, 157),
    size: numberIn(block.subarray(124, 136), "size"),
    mode: numberIn(block.subarray(100, 108), "mode"),
    modified: Number.parseInt(untilNul(block.subarray(136, 148)).toString("latin1"), 8) || 0,
  };
};
