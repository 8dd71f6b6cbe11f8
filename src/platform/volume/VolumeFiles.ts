import { join } from "node:path";

import { ByteSize, Effect, type FileSystem, Option, Schema } from "effect";

import { platformErrorOf, unsupportedFlag } from "../files/SystemErrors.ts";
import type { VolumeProcess } from "./VolumeProcess.ts";

type Files = FileSystem.FileSystem;

const FileType = Schema.Literals([
  "File",
  "Directory",
  "SymbolicLink",
  "BlockDevice",
  "CharacterDevice",
  "FIFO",
  "Socket",
  "Unknown",
]);

const FileInfo = Schema.Struct({
  type: FileType,
  mode: Schema.Int,
  dev: Schema.String,
  ino: Schema.String,
  nlink: Schema.Int,
  uid: Schema.Int,
  gid: Schema.Int,
  size: Schema.Int,
  blksize: Schema.Int,
  blocks: Schema.Int,
  atime: Schema.Int,
  mtime: Schema.Int,
});

const toInfo = (info: typeof FileInfo.Type): FileSystem.File.Info => ({
  type: info.type,
  mode: info.mode,
  dev: BigInt(info.dev),
  ino: Option.some(BigInt(info.ino)),
  nlink: Option.some(BigInt(info.nlink)),
  rdev: Option.none(),
  uid: Option.some(info.uid),
  gid: Option.some(info.gid),
  size: ByteSize.bytes(BigInt(info.size)),
  blksize: Option.some(ByteSize.bytes(BigInt(info.blksize))),
  blocks: Option.some(BigInt(info.blocks)),
  atime: Option.some(new Date(info.atime)),
  mtime: Option.some(new Date(info.mtime)),
  birthtime: Option.none(),
});

const Entries = Schema.Array(Schema.Tuple([Schema.String, FileType]));

/** Replies without a value. */
export const Done = Schema.Null;

const PREFIX = "tmp-";

/** The methods of a file system that the worker uses on the network volume, in the volume's process. */
export const volumeFiles = ({ request }: VolumeProcess["Service"]) => {
  const run = <A>(
    method: keyof Files & string,
    operation: string,
    args: { readonly path: string; readonly [name: string]: unknown },
    reply: Schema.Decoder<A>,
  ) =>
    Effect.mapError(request(`files.${operation}`, args, reply), platformErrorOf(method, args.path));

  const entries = (method: "readDirectory" | "readDirectoryEntries", path: string) =>
    run(method, "list", { path }, Entries);

  const writeFile: Files["writeFile"] = (path, bytes, { flag = "w", mode } = {}) =>
    flag === "w" || flag === "wx"
      ? run(
          "writeFile",
          "write",
          { path, content: Buffer.from(bytes).toString("base64"), new: flag === "wx", mode },
          Done,
        )
      : Effect.fail(unsupportedFlag(flag));

  const remove: Files["remove"] = (path, { recursive, force } = {}) => {
    const operation = recursive === true ? "remove_all" : "remove";
    return Effect.catchIf(
      run("remove", operation, { path }, Done),
      ({ reason }) => force === true && reason._tag === "NotFound",
      () => Effect.succeed(null),
    );
  };

  const makeTempDirectory: Files["makeTempDirectory"] = ({
    directory = "/",
    prefix = PREFIX,
  } = {}) =>
    run(
      "makeTempDirectory",
      "mkdtemp",
      { path: directory, prefix: join(directory, prefix) },
      Schema.String,
    );

  return {
    access: (path, options = {}) => run("access", "access", { path, ...options }, Done),
    chmod: (path, mode) => run("chmod", "chmod", { path, mode }, Done),
    copyFile: (from, to) => run("copyFile", "copy", { path: to, from, to }, Done),
    lstat: (path) => Effect.map(run("lstat", "lstat", { path }, FileInfo), toInfo),
    makeDirectory: (path, { recursive, mode } = {}) =>
      run("makeDirectory", recursive === true ? "mkdirs" : "mkdir", { path, mode }, Done),
    makeTempDirectory,
    readDirectory: (path) =>
      Effect.map(entries("readDirectory", path), (found) => found.map(([name]) => name)),
    readDirectoryEntries: (path) =>
      Effect.map(entries("readDirectoryEntries", path), (found) =>
        found.map(([name, type]) => ({ name, type })),
      ),
    readFile: (path) =>
      Effect.map(run("readFile", "read", { path }, Schema.String), (content) =>
        Buffer.from(content, "base64"),
      ),
    readLink: (path) => run("readLink", "readlink", { path }, Schema.String),
    realPath: (path) => run("realPath", "realpath", { path }, Schema.String),
    remove,
    rename: (from, to) => run("rename", "rename", { path: to, from, to }, Done),
    stat: (path) => Effect.map(run("stat", "stat", { path }, FileInfo), toInfo),
    symlink: (target, path) => run("symlink", "symlink", { target, path }, Done),
    writeFile,
  } satisfies Partial<Files>;
};
