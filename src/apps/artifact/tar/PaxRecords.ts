import { ArchiveBroken } from "./ArchiveError.ts";

const broken = () => new ArchiveBroken({ reason: "has an invalid extended header" });

const NEWLINE = 0x0a;

/**
 * Parses an extended header of POSIX pax: records `<length> <key>=<value>\n`, where the length is that of the whole
 * record in bytes. An empty value unsets the key.
 */
export const parsePax = (bytes: Buffer): ReadonlyMap<string, Buffer> => {
  const records = new Map<string, Buffer>();
  let start = 0;
  // Some programs pad the records with NULs.
  while (start < bytes.length && bytes[start] !== 0) {
    const space = bytes.indexOf(" ", start);
    const digits = bytes.toString("latin1", start, space);
    if (space === -1 || !/^[1-9]\d{0,8}$/.test(digits)) throw broken();
    const end = start + Number(digits);
    const equals = bytes.indexOf("=", space);
    if (end > bytes.length || equals === -1 || equals >= end || bytes[end - 1] !== NEWLINE) {
      throw broken();
    }
    records.set(bytes.toString("utf8", space + 1, equals), bytes.subarray(equals + 1, end - 1));
    start = end;
  }
  return records;
};
