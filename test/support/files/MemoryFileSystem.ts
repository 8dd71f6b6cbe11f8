import { ByteSize, Effect, FileSystem, Layer, Option, PlatformError } from "effect";

/** A file with its text, a folder (null), or a link. */
export type Planted = string | null | { readonly link: string };

interface FileNode {
  readonly kind: "file";
  bytes: Uint8Array;
  changed: number;
}
interface LinkNode {
  readonly kind: "link";
  readonly target: string;
}
interface DirectoryNode {
  readonly kind: "directory";
  readonly entries: Entries;
}
/** The entries of a folder, and how often they have changed. */
class Entries extends Map<string, Node> {
  changes = 0;
  override set(name: string, node: Node): this {
    this.changes += 1;
    return super.set(name, node);
  }
  override delete(name: string): boolean {
    this.changes += 1;
    return super.delete(name);
  }
}
type Node = FileNode | LinkNode | DirectoryNode;

/** The location of an entry that exists or could be created. */
interface Slot {
  readonly parent: DirectoryNode;
  readonly name: string;
  readonly node: Node | undefined;
  /** The path after resolving links. */
  readonly real: string;
}

const TAGS: Readonly<Record<string, PlatformError.SystemErrorTag>> = {
  ENOENT: "NotFound",
  EACCES: "PermissionDenied",
  EPERM: "PermissionDenied",
  EEXIST: "AlreadyExists",
  EISDIR: "BadResource",
  ENOTDIR: "BadResource",
  EBUSY: "Busy",
  ELOOP: "BadResource",
};

/** An error as Effect's file system for Node returns it: most codes are only in the cause. */
export const platformError = (code: string, method: string, path: string) =>
  PlatformError.systemError({
    _tag: TAGS[code] ?? "Unknown",
    module: "FileSystem",
    method,
    pathOrDescriptor: path,
    syscall: method,
    cause: Object.assign(new Error(`${code}: ${method} '${path}'`), {
      code,
      syscall: method,
      path,
    }),
  });

class FileError extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

const MAX_LINKS = 40;

const directory = (): DirectoryNode => ({ kind: "directory", entries: new Entries() });

/** A tree of directories, files and links in memory. */
class Tree {
  readonly root = directory();
  #changes = 0;

  /** Finds an entry; if it is a link, follows it only if `follow` is set. */
  locate(path: string, follow: boolean): Slot {
    const todo = path.split("/");
    const walked: Array<readonly [string, DirectoryNode]> = [];
    let links = 0;
    let here = this.root;
    let slot: Slot = { parent: this.root, name: "", node: this.root, real: "/" };
    while (todo.length > 0) {
      const name = todo.shift() ?? "";
      if (name === "" || name === ".") continue;
      if (slot.node?.kind !== "directory") throw new FileError(slot.node ? "ENOTDIR" : "ENOENT");
      if (name === "..") {
        walked.pop();
        here = walked.at(-1)?.[1] ?? this.root;
      } else {
        here = slot.node;
        const node = here.entries.get(name);
        const rest = todo.some((part) => part !== "" && part !== ".");
        if (node?.kind === "link" && (follow || rest)) {
          links += 1;
          if (links > MAX_LINKS) throw new FileError("ELOOP");
          if (node.target.startsWith("/")) {
            walked.length = 0;
            here = this.root;
          }
          todo.unshift(...node.target.split("/"));
        } else {
          const real = `/${[...walked.map(([part]) => part), name].join("/")}`;
          slot = { parent: here, name, node, real };
          if (node?.kind === "directory") walked.push([name, node]);
          continue;
        }
      }
      const real = `/${walked.map(([part]) => part).join("/")}`;
      slot = { parent: here, name: walked.at(-1)?.[0] ?? "", node: here, real };
    }
    return slot;
  }

  present(path: string, follow = true): Node {
    const { node } = this.locate(path, follow);
    if (node === undefined) throw new FileError("ENOENT");
    return node;
  }

  list(path: string): DirectoryNode {
    const node = this.present(path);
    if (node.kind !== "directory") throw new FileError("ENOTDIR");
    return node;
  }

  file(path: string): FileNode {
    const node = this.present(path);
    if (node.kind !== "file") throw new FileError("EISDIR");
    return node;
  }

  write(path: string, bytes: Uint8Array, flag: string): void {
    const { parent, name, node } = this.locate(path, true);
    if (node?.kind === "directory") throw new FileError("EISDIR");
    if (node !== undefined && flag.includes("x")) throw new FileError("EEXIST");
    this.#changes += 1;
    if (node?.kind === "file") {
      node.bytes = flag.startsWith("a") ? Buffer.concat([node.bytes, bytes]) : bytes;
      node.changed = this.#changes;
    } else {
      parent.entries.set(name, { kind: "file", bytes, changed: this.#changes });
    }
  }

  makeDirectory(path: string, recursive: boolean): void {
    const parts = path.split("/").filter((part) => part !== "");
    for (const [index] of recursive ? parts.entries() : []) {
      const { parent, name, node } = this.locate(`/${parts.slice(0, index + 1).join("/")}`, true);
      if (node === undefined) parent.entries.set(name, directory());
      else if (node.kind !== "directory") {
        throw new FileError(index === parts.length - 1 ? "EEXIST" : "ENOTDIR");
      }
    }
    if (recursive) return;
    const { parent, name, node } = this.locate(path, false);
    if (node !== undefined) throw new FileError("EEXIST");
    parent.entries.set(name, directory());
  }

  symlink(target: string, path: string): void {
    const { parent, name, node } = this.locate(path, false);
    if (node !== undefined) throw new FileError("EEXIST");
    parent.entries.set(name, { kind: "link", target });
  }

  remove(path: string, recursive: boolean, force: boolean): void {
    const { parent, name, node } = this.locate(path, false);
    if (node === undefined) {
      if (force) return;
      throw new FileError("ENOENT");
    }
    if (node.kind === "directory" && !recursive) throw new FileError("ERR_FS_EISDIR");
    parent.entries.delete(name);
  }

  rename(from: string, to: string): void {
    const source = this.locate(from, false);
    const target = this.locate(to, false);
    if (source.node === undefined) throw new FileError("ENOENT");
    if (source.node === target.node) return;
    if (`${target.real}/`.startsWith(`${source.real}/`)) throw new FileError("EINVAL");
    if (target.node?.kind === "directory") {
      if (source.node.kind !== "directory") throw new FileError("EISDIR");
      if (target.node.entries.size > 0) throw new FileError("ENOTEMPTY");
    } else if (target.node !== undefined && source.node.kind === "directory") {
      throw new FileError("ENOTDIR");
    }
    source.parent.entries.delete(source.name);
    target.parent.entries.set(target.name, source.node);
  }

  /** All entries by path, for assertions. */
  show(): Readonly<Record<string, Planted>> {
    const shown: Record<string, Planted> = {};
    const visit = (path: string, { entries }: DirectoryNode): void => {
      for (const [name, node] of entries) {
        const child = `${path}/${name}`;
        if (node.kind === "directory") {
          shown[child] = null;
          visit(child, node);
        } else if (node.kind === "link") {
          shown[child] = { link: node.target };
        } else {
          shown[child] = new TextDecoder().decode(node.bytes);
        }
      }
    };
    visit("", this.root);
    return shown;
  }
}

const TYPES = { file: "File", link: "SymbolicLink", directory: "Directory" } as const;

const timeOf = (node: Node): number => {
  if (node.kind === "file") return node.changed;
  return node.kind === "directory" ? node.entries.changes : 0;
};

const infoOf = (node: Node, device = 1): FileSystem.File.Info => ({
  type: TYPES[node.kind],
  mtime: Option.some(new Date(timeOf(node))),
  atime: Option.none(),
  birthtime: Option.none(),
  dev: BigInt(device),
  ino: Option.none(),
  mode: 0o755,
  nlink: Option.none(),
  uid: Option.none(),
  gid: Option.none(),
  rdev: Option.none(),
  size: ByteSize.fromInputUnsafe(node.kind === "file" ? node.bytes.length : 0),
  blksize: Option.none(),
  blocks: Option.none(),
});

const attempt = <A>(method: string, path: string, act: () => A) =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(act());
    } catch (error) {
      if (error instanceof FileError) return Effect.fail(platformError(error.code, method, path));
      throw error;
    }
  });

const afterYield = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.andThen(Effect.yieldNow, effect);

/** Yields to other fibers before every call. */
const withYields = (files: FileSystem.FileSystem): FileSystem.FileSystem =>
  FileSystem.make({
    ...files,
    access: (path) => afterYield(files.access(path)),
    makeDirectory: (path, options) => afterYield(files.makeDirectory(path, options)),
    readDirectory: (path) => afterYield(files.readDirectory(path)),
    readFile: (path) => afterYield(files.readFile(path)),
    readLink: (path) => afterYield(files.readLink(path)),
    remove: (path, options) => afterYield(files.remove(path, options)),
    rename: (from, to) => afterYield(files.rename(from, to)),
    stat: (path) => afterYield(files.stat(path)),
    symlink: (target, path) => afterYield(files.symlink(target, path)),
    writeFile: (path, bytes, options) => afterYield(files.writeFile(path, bytes, options)),
  });

const serviceOf = (tree: Tree, mounts: ReadonlyArray<string>): FileSystem.FileSystem => {
  let temporaries = 0;
  const makeTempDirectory: FileSystem.FileSystem["makeTempDirectory"] = () =>
    attempt("makeTempDirectory", "/tmp", () => {
      temporaries += 1;
      const path = `/tmp/${temporaries}`;
      tree.makeDirectory(path, true);
      return path;
    });
  return FileSystem.make({
    ...FileSystem.makeNoop({}),
    makeTempDirectory,
    makeTempDirectoryScoped: (options) =>
      Effect.acquireRelease(makeTempDirectory(options), (path) =>
        Effect.sync(() => tree.remove(path, true, true)),
      ),
    access: (path) => attempt("access", path, () => void tree.present(path)),
    makeDirectory: (path, options) =>
      attempt("makeDirectory", path, () => tree.makeDirectory(path, options?.recursive ?? false)),
    readDirectory: (path) =>
      attempt("readDirectory", path, () => [...tree.list(path).entries.keys()].toSorted()),
    readFile: (path) => attempt("readFile", path, () => Uint8Array.from(tree.file(path).bytes)),
    writeFile: (path, bytes, options) =>
      attempt("writeFile", path, () => tree.write(path, bytes, options?.flag ?? "w")),
    readLink: (path) =>
      attempt("readLink", path, () => {
        const node = tree.present(path, false);
        if (node.kind !== "link") throw new FileError("EINVAL");
        return node.target;
      }),
    realPath: (path) =>
      attempt("realPath", path, () => {
        const { node, real } = tree.locate(path, true);
        if (node === undefined) throw new FileError("ENOENT");
        return real;
      }),
    symlink: (target, path) => attempt("symlink", path, () => tree.symlink(target, path)),
    rename: (from, to) => attempt("rename", from, () => tree.rename(from, to)),
    remove: (path, options) =>
      attempt("remove", path, () =>
        tree.remove(path, options?.recursive ?? false, options?.force ?? false),
      ),
    stat: (path) =>
      attempt("stat", path, () => {
        const node = tree.present(path);
        const { real } = tree.locate(path, true);
        return infoOf(
          node,
          2 + mounts.findLastIndex((mount) => `${real}/`.startsWith(`${mount}/`)),
        );
      }),
    lstat: (path) => attempt("lstat", path, () => infoOf(tree.present(path, false))),
    open: (path) =>
      attempt("open", path, () => {
        const node = tree.file(path);
        let position = 0;
        const unsupported = Effect.die(new Error("only reading is implemented"));
        return {
          [FileSystem.FileTypeId]: FileSystem.FileTypeId,
          stat: Effect.sync(() => infoOf(node)),
          readAlloc: (size) =>
            Effect.sync(() => {
              const part = node.bytes.slice(position, position + size);
              position += part.length;
              return part.length === 0 ? Option.none() : Option.some(part);
            }),
          seek: () => unsupported,
          sync: Effect.void,
          read: () => unsupported,
          truncate: () => unsupported,
          write: () => unsupported,
          writeAll: () => unsupported,
        };
      }),
  });
};

/** Effect's file system in memory, for absolute paths, with initial entries. */
export const memoryFileSystem = (
  planted: Readonly<Record<string, Planted>> = {},
  /** Folders that are mount points of other disks. */
  mounts: ReadonlyArray<string> = [],
) => {
  const tree = new Tree();
  /** Creates entries and their parent folders. */
  const plant = (more: Readonly<Record<string, Planted>>): void => {
    for (const [path, what] of Object.entries(more)) {
      tree.makeDirectory(what === null ? path : path.slice(0, path.lastIndexOf("/")) || "/", true);
      if (typeof what === "string") tree.write(path, new TextEncoder().encode(what), "w");
      else if (what !== null) tree.symlink(what.link, path);
    }
  };
  plant(planted);
  const files = serviceOf(tree, mounts);
  return {
    files,
    /** The same files for tests of concurrency: other fibers run between any two calls. */
    contended: withYields(files),
    layer: Layer.succeed(FileSystem.FileSystem, files),
    plant,
    /** Removes an entry of any kind. */
    uproot: (path: string): void => tree.remove(path, true, true),
    /** All entries by path. */
    show: () => tree.show(),
    /** Matching paths of existing entries. */
    paths: (pattern: RegExp): ReadonlyArray<string> =>
      Object.keys(tree.show()).filter((path) => pattern.test(path)),
  };
};

export type MemoryFileSystem = ReturnType<typeof memoryFileSystem>;
