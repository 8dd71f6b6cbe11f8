import { ArchiveBroken, ArchiveRefused, quoted, refusedMember } from "./ArchiveError.ts";
import { parsePax } from "./PaxRecords.ts";
import { BLOCK, isZero, parseHeader, type TarHeader, untilNul } from "./TarHeader.ts";

/** Receives the members of an archive in their order. */
export interface TarTarget {
  readonly folder: (name: string) => void;
  /** Returns a function for the parts of the content; it must not keep them. */
  readonly file: (name: string, attributes: FileAttributes) => OpenFile;
  readonly symbolicLink: (name: string, target: string) => void;
  /** `target` is the name of an earlier member. */
  readonly hardLink: (name: string, target: string) => void;
}

export interface FileAttributes {
  readonly isExecutable: boolean;
  /** In whole seconds since 1970. */
  readonly modified: number;
}

export interface OpenFile {
  readonly write: (part: Buffer) => void;
  readonly close: () => void;
}

/** The next bytes that the reader needs: all of them at once, or in parts. */
type Need = { readonly exactly: number } | { readonly atMost: number };

/** Reads an archive: yields what it needs, and continues with the bytes. */
type TarReader = Generator<Need, void, Buffer>;

/** In bytes: long names and extended headers are kept in memory. */
const MAX_EXTENSION = 1024 * 1024;

/** In bytes: limits of Linux. */
const MAX_PATH = 4095;
const MAX_PATH_PART = 255;

const OWNER_EXECUTES = 0o100;

/** What headers before a member say about it. */
interface Extensions {
  readonly path?: Buffer;
  readonly linkpath?: Buffer;
  readonly size?: Buffer;
  readonly mtime?: Buffer;
}

const isRegular = (type: string): boolean => type === "0" || type === "\0" || type === "7";

const UNSUPPORTED: Readonly<Record<string, string>> = {
  "3": "a device",
  "4": "a device",
  "6": "a named pipe",
  S: "a sparse file",
};

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const decodeName = (bytes: Buffer): string => {
  const shown = bytes.toString("latin1");
  let name: string;
  try {
    name = utf8.decode(bytes);
  } catch {
    throw refusedMember(shown, "whose name is not UTF-8");
  }
  if (/\p{Cc}/u.test(name)) throw refusedMember(name, "whose name contains control characters");
  const isTooLong =
    bytes.length > MAX_PATH ||
    name.split("/").some((part) => Buffer.byteLength(part) > MAX_PATH_PART);
  if (isTooLong) throw refusedMember(name, "whose name is too long");
  return name;
};

const sizeOf = ({ size }: TarHeader, extended: Buffer | undefined): number => {
  if (extended === undefined) return size;
  const digits = extended.toString("latin1");
  const value = Number(digits);
  if (/^\d+$/.test(digits) && Number.isSafeInteger(value)) return value;
  throw new ArchiveBroken({ reason: "has an extended header with an invalid size" });
};

const modifiedOf = ({ modified }: TarHeader, extended: Buffer | undefined): number => {
  const digits = extended?.toString("latin1") ?? "";
  return /^\d{1,12}(\.\d+)?$/.test(digits) ? Math.floor(Number(digits)) : modified;
};

const paddingOf = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

function* exactly(size: number): Generator<Need, Buffer, Buffer> {
  return size === 0 ? Buffer.alloc(0) : yield { exactly: size };
}

function* parts(size: number, use: (part: Buffer) => void): Generator<Need, void, Buffer> {
  for (let left = size; left > 0;) {
    const part = yield { atMost: left };
    use(part);
    left -= part.length;
  }
}

/** The content of a header's extension. */
function* extension({ size }: TarHeader): Generator<Need, Buffer, Buffer> {
  if (size > MAX_EXTENSION) {
    throw new ArchiveRefused({
      reason: `has an extended header of ${size} bytes, and at most ${MAX_EXTENSION} are allowed`,
      advice: "Build the app again with its client.",
    });
  }
  const content = yield* exactly(size);
  yield* exactly(paddingOf(size));
  return content;
}

const extensionsOf = (records: ReadonlyMap<string, Buffer>): Extensions => {
  const sparse = [...records.keys()].find((key) => key.startsWith("GNU.sparse."));
  if (sparse !== undefined) {
    const name = records.get("GNU.sparse.name") ?? records.get("path") ?? Buffer.from("?");
    throw refusedMember(name.toString(), "a sparse file, which is not supported");
  }
  const used = ["path", "linkpath", "size", "mtime"].flatMap((key) => {
    const value = records.get(key);
    return value === undefined || value.length === 0 ? [] : [[key, value] as const];
  });
  return Object.fromEntries(used);
};

/** What an extension header says about the next member, or about all (type `g`); none for a member itself. */
function* extensionsIn(header: TarHeader): Generator<Need, Extensions | undefined, Buffer> {
  if (["g", "x", "X"].includes(header.type)) {
    return extensionsOf(parsePax(yield* extension(header)));
  }
  if (header.type === "L") return { path: untilNul(yield* extension(header)) };
  if (header.type === "K") return { linkpath: untilNul(yield* extension(header)) };
  return undefined;
}

function* member(
  header: TarHeader,
  { path, linkpath, size: extendedSize, mtime }: Extensions,
  target: TarTarget,
): Generator<Need, void, Buffer> {
  const { type, mode, linkName } = header;
  const name = decodeName(path ?? header.name);
  // Before POSIX, a folder was a file whose name ends with a slash.
  if (type === "5" || (type === "\0" && name.endsWith("/"))) return target.folder(name);
  if (type === "1") return target.hardLink(name, decodeName(linkpath ?? linkName));
  if (type === "2") return target.symbolicLink(name, decodeName(linkpath ?? linkName));
  if (!isRegular(type)) {
    const kind = UNSUPPORTED[type] ?? `a member of the unknown type ${quoted(type)}`;
    throw refusedMember(name, `${kind}, which is not supported`);
  }
  const size = sizeOf(header, extendedSize);
  const file = target.file(name, {
    isExecutable: (mode & OWNER_EXECUTES) !== 0,
    modified: modifiedOf(header, mtime),
  });
  try {
    yield* parts(size, file.write);
  } finally {
    file.close();
  }
  yield* exactly(paddingOf(size));
}

/** After the first zero block only zeros may follow. */
function* rest(): Generator<Need, void, Buffer> {
  yield* parts(Number.MAX_SAFE_INTEGER, (part) => {
    if (!isZero(part)) throw new ArchiveBroken({ reason: "has data after its end" });
  });
}

/**
 * Reads an archive in the formats of Python's tarfile: ustar, GNU, and pax. It does not know where the data ends, so it
 * always needs more; `onEnd` tells that the archive is complete.
 */
function* readTar(target: TarTarget, onEnd: () => void): TarReader {
  const globals: Extensions = {};
  let locals: Extensions = {};
  while (true) {
    const block = yield* exactly(BLOCK);
    if (isZero(block)) {
      onEnd();
      return yield* rest();
    }
    const header = parseHeader(block);
    const found = yield* extensionsIn(header);
    if (found === undefined) {
      yield* member(header, { ...globals, ...locals }, target);
      locals = {};
    } else {
      Object.assign(header.type === "g" ? globals : locals, found);
    }
  }
}

/** Feeds a reader with the data of an archive, at most `maxBytes`. */
export const feedTar = (
  target: TarTarget,
  maxBytes: number,
): {
  readonly write: (data: Buffer) => void;
  readonly end: () => void;
  readonly stop: () => void;
} => {
  let isComplete = false;
  const reader = readTar(target, () => {
    isComplete = true;
  });
  let step = reader.next();
  let kept: Buffer = Buffer.alloc(0);
  let total = 0;

  const write = (data: Buffer): void => {
    total += data.length;
    if (total > maxBytes) {
      throw new ArchiveRefused({
        reason: `is larger than ${maxBytes} bytes when unpacked`,
        advice: "Leave out files that the app does not need, or raise WORKER_APP_MAX_BYTES.",
      });
    }
    let unread = kept.length === 0 ? data : Buffer.concat([kept, data]);
    while (step.done !== true && unread.length > 0) {
      const need = step.value;
      if ("exactly" in need && unread.length < need.exactly) break;
      const size = "exactly" in need ? need.exactly : Math.min(need.atMost, unread.length);
      step = reader.next(unread.subarray(0, size));
      unread = unread.subarray(size);
    }
    kept = unread;
  };

  return {
    write,
    end: () => {
      if (!isComplete || kept.length > 0) {
        throw new ArchiveBroken({ reason: "is incomplete: it ends in the middle of a file" });
      }
    },
    /** Closes the file that is being written. */
    stop: () => void reader.return(),
  };
};
