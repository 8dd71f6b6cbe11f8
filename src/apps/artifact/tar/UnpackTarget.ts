import {
  closeSync,
  constants,
  futimesSync,
  linkSync,
  mkdirSync,
  openSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

import { diskFault } from "../../../platform/files/DiskFault.ts";
import { quoted, refusedMember } from "./ArchiveError.ts";
import { MemberTree, type Slot } from "./MemberTree.ts";
import type { FileAttributes, OpenFile, TarTarget } from "./TarReader.ts";

const NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Rights of the archive are not kept, except that a file can be executed. The umask applies too. */
const FOLDER_MODE = 0o755;
const PROGRAM_MODE = 0o755;
const FILE_MODE = 0o644;

const writeAll = (fd: number, bytes: Buffer): void => {
  for (let written = 0; written < bytes.length;) {
    written += writeSync(fd, bytes, written, bytes.length - written);
  }
};

/**
 * Writes members into an empty folder that belongs to this process alone. Writes synchronously, which is several times
 * faster for small files, and short, since the archive arrives in small parts.
 */
export class UnpackTarget implements TarTarget {
  readonly tree: MemberTree;
  readonly #root: string;
  readonly #shown: string;

  /** `shown` is the name of the folder `root` in errors. */
  constructor(root: string, shown: string, maxMembers: number) {
    this.#root = root;
    this.#shown = shown;
    this.tree = new MemberTree(maxMembers, (path) =>
      this.#attempt(path, (at) => mkdirSync(at, FOLDER_MODE)),
    );
  }

  folder(name: string): void {
    const slot = this.tree.locate(name);
    if (slot === undefined || this.tree.isFolder(slot)) return;
    if (slot.entry !== undefined) {
      throw refusedMember(name, `a folder, but an earlier ${slot.entry.kind} has the same name`);
    }
    this.tree.addFolder(slot);
  }

  file(name: string, { isExecutable, modified }: FileAttributes): OpenFile {
    const slot = this.#replace(name, "file");
    const mode = isExecutable ? PROGRAM_MODE : FILE_MODE;
    this.tree.add(slot, { kind: "file" });
    const fd = this.#attempt(slot.path, (at) => openSync(at, NEW, mode));
    return {
      write: (part) => this.#attempt(slot.path, () => writeAll(fd, part)),
      close: () =>
        this.#attempt(slot.path, () => {
          try {
            // Python ignores the bytecode of a module that has another time.
            futimesSync(fd, modified, modified);
          } finally {
            // An exceeded quota is often reported only by close.
            closeSync(fd);
          }
        }),
    };
  }

  symbolicLink(name: string, target: string): void {
    if (target === "") throw refusedMember(name, "a link without a target");
    if (target.startsWith("/")) {
      throw refusedMember(name, `a link to ${quoted(target)}, which is an absolute path`);
    }
    const slot = this.#replace(name, "link");
    this.#attempt(slot.path, (at) => symlinkSync(target, at));
    this.tree.add(slot, { kind: "link", target });
  }

  hardLink(name: string, target: string): void {
    const kind = `a hard link to ${quoted(target)}, `;
    const original = this.tree.find(target, { name, kind });
    if (original?.entry?.kind === "link") return this.symbolicLink(name, original.entry.target);
    if (original?.entry?.kind !== "file") {
      throw refusedMember(name, `${kind}which is not an earlier file of the archive`);
    }
    if (original.path === this.tree.locate(name)?.path) return;
    const slot = this.#replace(name, "file");
    this.#attempt(slot.path, (at) => linkSync(join(this.#root, original.path), at));
    this.tree.add(slot, { kind: "file" });
  }

  /** Locates a file or link, and removes an earlier one of the same kind. */
  #replace(name: string, kind: "file" | "link"): Slot {
    const slot = this.tree.locate(name);
    if (slot === undefined) throw refusedMember(name, "which is not a folder");
    const earlier = slot.entry?.kind;
    if (earlier !== undefined && earlier !== kind) {
      throw refusedMember(name, `a ${kind}, but an earlier ${earlier} has the same name`);
    }
    if (earlier !== undefined) this.#attempt(slot.path, unlinkSync);
    return slot;
  }

  #attempt<A>(path: string, act: (at: string) => A): A {
    try {
      return act(join(this.#root, path));
    } catch (error) {
      throw diskFault(join(this.#shown, path), "can't be written")(error);
    }
  }
}
