import { ArchiveRefused, quoted, refusedMember } from "./ArchiveError.ts";

/** What is unpacked so far. Folders map names to entries. */
export type Entry =
  | { readonly kind: "file" }
  | { readonly kind: "link"; readonly target: string }
  | Folder;

interface Folder {
  readonly kind: "folder";
  readonly entries: Map<string, Entry>;
}

/** One step of a path without links; the entry is missing if nothing has that path. */
interface Step {
  readonly name: string;
  readonly entry: Entry | undefined;
}

/** The path from the root to an entry; the root itself is empty. */
type Walk = Array<Step>;

/** The same limit as Linux: more links in a path are a loop. */
const MAX_LINKS = 40;

/** A member, for errors. */
interface Subject {
  readonly name: string;
  /** What it is, such as `a link to "x", `; empty for files and folders. */
  readonly kind: string;
}

/** The location of a member: its folder, and its path relative to the root, which contains no links. */
export interface Slot {
  readonly folder: Folder;
  readonly name: string;
  readonly path: string;
  readonly entry: Entry | undefined;
}

const OUTSIDE = "which leads outside of the app";

const newFolder = (): Folder => ({ kind: "folder", entries: new Map() });

const pathOf = (walk: Walk): string => walk.map(({ name }) => name).join("/");

/**
 * The tree of an archive's members. As nothing else writes to the folder that they are unpacked into, the tree knows
 * every link there without reading the disk, so no path that it returns contains one.
 */
export class MemberTree {
  readonly #root = newFolder();
  readonly #onFolder: (path: string) => void;
  readonly #maxMembers: number;
  #members = 0;

  /** `onFolder` creates a folder on the disk. */
  constructor(maxMembers: number, onFolder: (path: string) => void) {
    this.#maxMembers = maxMembers;
    this.#onFolder = onFolder;
  }

  /** Where a member belongs; creates missing parent folders. None for the root itself. */
  locate(name: string): Slot | undefined {
    if (name.startsWith("/")) throw refusedMember(name, "whose name is an absolute path");
    const parts = name.split("/").filter((part) => part !== "" && part !== ".");
    const last = parts.pop();
    if (last === undefined) return undefined;
    if (last === "..") throw refusedMember(name, 'whose name ends with ".."');
    const walk: Walk = [];
    this.#follow(walk, parts, { name, kind: "" }, true);
    const folder = this.#folderAt(walk);
    if (folder === undefined) throw refusedMember(name, "which is below a file");
    const path = pathOf([...walk, { name: last, entry: undefined }]);
    return { folder, name: last, path, entry: folder.entries.get(last) };
  }

  /** The entry that a member's name refers to, if it exists. */
  find(name: string, subject: Subject): Slot | undefined {
    if (name.startsWith("/")) throw refusedMember(subject.name, `${subject.kind}${OUTSIDE}`);
    const parts = name.split("/").filter((part) => part !== "" && part !== ".");
    const last = parts.pop();
    if (last === undefined || last === "..") return undefined;
    const walk: Walk = [];
    this.#follow(walk, parts, subject, false);
    const folder = this.#folderAt(walk);
    const entry = folder?.entries.get(last);
    if (folder === undefined || entry === undefined) return undefined;
    return { folder, name: last, path: pathOf([...walk, { name: last, entry }]), entry };
  }

  add({ folder, name }: Slot, entry: Exclude<Entry, Folder>): void {
    this.#count();
    folder.entries.set(name, entry);
  }

  /** Whether the entry is a folder, or a link to one. */
  isFolder({ path, entry }: Slot): boolean {
    if (entry?.kind !== "link") return entry?.kind === "folder";
    const walk: Walk = [];
    this.#follow(walk, path.split("/"), { name: path, kind: "" }, false);
    return this.#folderAt(walk) !== undefined;
  }

  addFolder({ folder, name, path }: Slot): void {
    this.#count();
    this.#onFolder(path);
    folder.entries.set(name, newFolder());
  }

  /** Fails for a link that leaves the root, at any step of its way. Links whose target is missing are allowed. */
  assertLinksStayInside(): void {
    for (const [path, entry] of this.#all(this.#root, [])) {
      if (entry.kind !== "link") continue;
      const kind = `a link to ${quoted(entry.target)}, `;
      this.#follow([], path.split("/"), { name: path, kind }, false);
    }
  }

  /** The paths of all files and links, and of all folders, parents first. */
  list(): { readonly files: ReadonlyArray<string>; readonly folders: ReadonlyArray<string> } {
    const all = [...this.#all(this.#root, [])];
    const paths = (isFolder: boolean) =>
      all.filter(([, { kind }]) => (kind === "folder") === isFolder).map(([path]) => path);
    return { files: paths(false), folders: paths(true) };
  }

  *#all(folder: Folder, above: ReadonlyArray<string>): Generator<readonly [string, Entry]> {
    for (const [name, entry] of folder.entries) {
      const path = [...above, name];
      yield [path.join("/"), entry];
      if (entry.kind === "folder") yield* this.#all(entry, path);
    }
  }

  #folderAt(walk: Walk): Folder | undefined {
    const entry = walk.length === 0 ? this.#root : walk.at(-1)?.entry;
    return entry?.kind === "folder" ? entry : undefined;
  }

  /** Extends a walk by a path, with all links on the way. Fails if a step leaves the root. */
  #follow(walk: Walk, path: ReadonlyArray<string>, { name: of, kind }: Subject, create: boolean) {
    const refused = (problem: string) => refusedMember(of, `${kind}${problem}`);
    const todo = path.toReversed();
    let links = 0;
    for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
      if (name === "" || name === ".") continue;
      if (name === "..") {
        if (walk.pop() === undefined) throw refused(OUTSIDE);
        continue;
      }
      const parent = this.#folderAt(walk);
      let entry = parent?.entries.get(name);
      if (entry?.kind === "link") {
        links += 1;
        if (links > MAX_LINKS) throw refused("which leads into a loop of links");
        if (entry.target.startsWith("/")) throw refused(OUTSIDE);
        todo.push(...entry.target.split("/").toReversed());
        continue;
      }
      if (entry === undefined && parent !== undefined && create) {
        const at = pathOf([...walk, { name, entry }]);
        this.addFolder({ folder: parent, name, path: at, entry });
        entry = parent.entries.get(name);
      }
      walk.push({ name, entry });
    }
  }

  #count(): void {
    this.#members += 1;
    if (this.#members > this.#maxMembers) {
      throw new ArchiveRefused({
        reason: `contains more than ${this.#maxMembers} files, folders and links`,
        advice: "Leave out files that the app does not need, or raise WORKER_APP_MAX_FILES.",
      });
    }
  }
}
