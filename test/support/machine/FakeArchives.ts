import { createHash } from "node:crypto";
import { basename, join } from "node:path";

import { Effect, Option, Schema } from "effect";

import { DiskFault } from "../../../src/platform/files/DiskFault.ts";
import type { MemoryFileSystem, Planted } from "../files/MemoryFileSystem.ts";

const Args = Schema.Struct({
  prefix: Schema.optionalKey(Schema.String),
  record: Schema.optionalKey(Schema.NullOr(Schema.String)),
  folder: Schema.optionalKey(Schema.String),
  archive: Schema.optionalKey(Schema.String),
  target: Schema.optionalKey(Schema.String),
  store: Schema.optionalKey(Schema.String),
});

const decodeArgs = Schema.decodeUnknownSync(Args);

const Content = Schema.fromJsonString(
  Schema.Record(
    Schema.String,
    Schema.Union([Schema.NullOr(Schema.String), Schema.Struct({ link: Schema.String })]),
  ),
);
const decodeContent = Schema.decodeUnknownOption(Content);

const SITE = "lib/python3.12/site-packages";

export interface ArchiveBehaviour {
  /** Runs before each operation on archives. */
  readonly before?: (operation: string) => Effect.Effect<void, DiskFault>;
  /** Whether a package has what was released; true by default. */
  readonly isReleased?: (record: string) => boolean;
}

/** The operations on archives of a volume in memory: a package is its folder `.dist-info`. */
export const fakeArchives = (
  memory: MemoryFileSystem,
  { before = () => Effect.void, isReleased = () => true }: ArchiveBehaviour = {},
) => {
  const recordsOf = (prefix: string) =>
    memory.paths(new RegExp(`^${prefix}/${SITE}/[^/]*\\.dist-info$`)).map((path) => basename(path));

  /** The files of a package, or those that belong to none, relative to the venv. */
  const contentOf = (prefix: string, record: string | null) => {
    const entries = Object.entries(memory.show()).flatMap(
      ([path, planted]): ReadonlyArray<readonly [string, Planted]> => {
        if (!path.startsWith(`${prefix}/`)) return [];
        const name = path.slice(prefix.length + 1);
        const owner = /[^/]*\.dist-info/.exec(name)?.[0] ?? null;
        return owner === record && !name.startsWith(".worker-tetra") ? [[name, planted]] : [];
      },
    );
    return Object.fromEntries(entries);
  };

  const write = (content: Readonly<Record<string, Planted>>, folder: string) => {
    const text = JSON.stringify(content);
    const archive = `${createHash("sha256").update(text).digest("hex")}.tar`;
    memory.plant({ [join(folder, archive)]: text });
    return { archive, files: Object.keys(content).length, size: 1 };
  };

  const pack = (prefix: string, record: string | null, folder: string) =>
    write(contentOf(prefix, record), folder);

  const packStart = (prefix: string, folder: string) => {
    const parts = [null, ...recordsOf(prefix)].map((record) => contentOf(prefix, record));
    return { ...write(Object.assign({}, ...parts), folder), links: [] };
  };

  const unpack = (archive: string, target: string) => {
    const text = memory.show()[archive];
    const content = decodeContent(text);
    if (Option.isNone(content)) {
      if (text !== undefined) memory.uproot(archive);
      const code = text === undefined ? "ENOENT" : "EBADMSG";
      return Effect.fail(
        new DiskFault({ path: archive, code, problem: "is damaged", detail: code }),
      );
    }
    for (const [name, planted] of Object.entries(content.value)) {
      memory.plant({ [join(target, name)]: planted });
    }
    return Effect.succeed(null);
  };

  const survey = (prefix: string) => ({
    packages: recordsOf(prefix).map((record) => {
      const [name = "", version = ""] = record.slice(0, -".dist-info".length).split("-");
      return { record, name, version, isShareable: true };
    }),
    links: [],
  });

  /** None if the operation is not about archives. */
  return (operation: string, given: object): Option.Option<Effect.Effect<unknown, DiskFault>> => {
    const {
      prefix = "",
      record = null,
      folder = "",
      archive = "",
      target = "",
      store = "",
    } = decodeArgs(given);
    const replies: Readonly<Record<string, () => Effect.Effect<unknown, DiskFault>>> = {
      "archives.survey": () => Effect.succeed(survey(prefix)),
      "archives.pack": () => Effect.succeed(pack(prefix, record, folder)),
      "archives.pack_start": () => Effect.succeed(packStart(prefix, store)),
      "archives.verify": () => Effect.succeed(isReleased(record ?? "")),
      "archives.unpack": () => unpack(archive, target),
      "archives.link": () => Effect.succeed(null),
      "bytecode.compile": () => Effect.succeed(0),
    };
    const reply = replies[operation];
    return reply === undefined
      ? Option.none()
      : Option.some(Effect.andThen(before(operation), Effect.suspend(reply)));
  };
};
