import { ByteSize, Effect, FileSystem, Layer, Option, PlatformError } from "effect";

/** What to plant: a file with its text, a folder (null), or a link. */
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
/** What is in a folder, and how often that has changed. */
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

/** Where an entry is, or would be. */
interface Slot {
  readonly parent: DirectoryNode;
  readonly name: string;
  readonly node: Node | undefined;
  /** The path without any link on the way. */
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

/** An error as Node's file system has it: most codes show in the cause alone. */
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

class Refused extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

const MOST_LINKS = 40;

const directory = (): DirectoryNode => ({ kind: "directory", entries: new Entries() });

/** A tree of directories, files and links in memory. */
class Tree {
  readonly root = directory();
  #changes = 0;

  /** Walks to an entry; a link in its place is followed when asked. */
  locate(path: string, follow: boolean): Slot {
    const todo = path.split("/");
    const walked: Array<readonly [string, DirectoryNode]> = [];
    let links = 0;
    let here = this.root;
    let slot: Slot = { parent: this.root, name: "", node: this.root, real: "/" };
    while (todo.length > 0) {
      const name = todo.shift() ?? "";
      if (name === "" || name === ".") continue;
      if (slot.node?.kind !== "directory") throw new Refused(slot.node ? "ENOTDIR" : "ENOENT");
      if (name === "..") {
        walked.pop();
        here = walked.at(-1)?.[1] ?? this.root;
      } else {
        here = slot.node;
        const node = here.entries.get(name);
        const rest = todo.some((part) => part !== "" && part !== ".");
        if (node?.kind === "link" && (follow || rest)) {
          links += 1;
          if (links > MOST_LINKS) throw new Refused("ELOOP");
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
    if (node === undefined) throw new Refused("ENOENT");
    return node;
  }

  list(path: string): DirectoryNode {
    const node = this.present(path);
    if (node.kind !== "directory") throw new Refused("ENOTDIR");
    return node;
  }

  file(path: string): FileNode {
    const node = this.present(path);
    if (node.kind !== "file") throw new Refused("EISDIR");
    return node;
  }

  write(path: string, bytes: Uint8Array, flag: string): void {
    const { parent, name, node } = this.locate(path, true);
    if (node?.kind === "directory") throw new Refused("EISDIR");
    if (node !== undefined && flag.includes("x")) throw new Refused("EEXIST");
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
        throw new Refused(index === parts.length - 1 ? "EEXIST" : "ENOTDIR");
      }
    }
    if (recursive) return;
    const { parent, name, node } = this.locate(path, false);
    if (node !== undefined) throw new Refused("EEXIST");
    parent.entries.set(name, directory());
  }

  symlink(target: string, path: string): void {
    const { parent, name, node } = this.locate(path, false);
    if (node !== undefined) throw new Refused("EEXIST");
    parent.entries.set(name, { kind: "link", target });
  }

  remove(path: string, recursive: boolean, force: boolean): void {
    const { parent, name, node } = this.locate(path, false);
    if (node === undefined) {
      if (force) return;
      throw new Refused("ENOENT");
    }
    if (node.kind === "directory" && !recursive) throw new Refused("ERR_FS_EISDIR");
    parent.entries.delete(name);
  }

  rename(from: string, to: string): void {
    const source = this.locate(from, false);
    const target = this.locate(to, false);
    if (source.node === undefined) throw new Refused("ENOENT");
    if (source.node === target.node) return;
    if (`${target.real}/`.startsWith(`${source.real}/`)) throw new Refused("EINVAL");
    if (target.node?.kind === "directory") {
      if (source.node.kind !== "directory") throw new Refused("EISDIR");
      if (target.node.entries.size > 0) throw new Refused("ENOTEMPTY");
    } else if (target.node !== undefined && source.node.kind === "directory") {
      throw new Refused("ENOTDIR");
    }
    source.parent.entries.delete(source.name);
    target.parent.entries.set(target.name, source.node);
  }

  /** Every entry below a folder with what it is, for assertions. */
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
      if (error instanceof Refused) return Effect.fail(platformError(error.code, method, path));
      throw error;
    }
  });

const turn = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.andThen(Effect.yieldNow, effect);

/** Lets other fibers have their turn before every call that tells or changes what is there. */
const inTurns = (files: FileSystem.FileSystem): FileSystem.FileSystem =>
  FileSystem.make({
    ...files,
    access: (path) => turn(files.access(path)),
    makeDirectory: (path, options) => turn(files.makeDirectory(path, options)),
    readDirectory: (path) => turn(files.readDirectory(path)),
    readFile: (path) => turn(files.readFile(path)),
    readLink: (path) => turn(files.readLink(path)),
    remove: (path, options) => turn(files.remove(path, options)),
    rename: (from, to) => turn(files.rename(from, to)),
    stat: (path) => turn(files.stat(path)),
    symlink: (target, path) => turn(files.symlink(target, path)),
    writeFile: (path, bytes, options) => turn(files.writeFile(path, bytes, options)),
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
        if (node.kind !== "link") throw new Refused("EINVAL");
        return node.target;
      }),
    realPath: (path) =>
      attempt("realPath", path, () => {
        const { node, real } = tree.locate(path, true);
        if (node === undefined) throw new Refused("ENOENT");
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
        const unsupported = Effect.die(new Error("only reading is there"));
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

/** Effect's file system over memory, for absolute paths; it begins with what is planted. */
export const memoryFileSystem = (
  planted: Readonly<Record<string, Planted>> = {},
  /** Folders that are on disks of their own. */
  mounts: ReadonlyArray<string> = [],
) => {
  const tree = new Tree();
  /** Puts things there, with the folders above them. */
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
    /** The same files for fibers that meet: they get in each other's way between any two calls. */
    contended: inTurns(files),
    layer: Layer.succeed(FileSystem.FileSystem, files),
    plant,
    /** Takes something away, whatever it is. */
    uproot: (path: string): void => tree.remove(path, true, true),
    /** All that is there, by path. */
    show: () => tree.show(),
    /** Paths that are there and match. */
    paths: (pattern: RegExp): ReadonlyArray<string> =>
      Object.keys(tree.show()).filter((path) => pattern.test(path)),
  };
};

export type MemoryFileSystem = ReturnType<typeof memoryFileSystem>;
