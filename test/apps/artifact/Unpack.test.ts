/* oxlint-disable no-await-in-loop -- archives are unpacked one after the other, into the same folder */
import { lstatSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { assert, beforeEach, describe, it } from "@effect/vitest";

import {
  openArchive,
  unpackArchive,
  type UnpackLimits,
} from "../../../src/apps/artifact/Unpack.ts";
import { ArchiveBroken, ArchiveRefused } from "../../../src/apps/artifact/tar/ArchiveError.ts";
import { listing } from "../../support/files/Listing.ts";
import { openFilesBelow } from "../../support/files/OpenFiles.ts";
import { pax, TAR_END, tar, tarGz, type TarMember, tarMember } from "../../support/files/Tar.ts";
import { makeTemporaryFolder, removeFolder } from "../../support/files/TemporaryFolder.ts";

const LIMITS: UnpackLimits = { maxBytes: 10_000_000, maxMembers: 1000 };

let root = "";
const out = () => join(root, "out");

beforeEach(() => {
  root = makeTemporaryFolder();
  mkdirSync(out());
  return () => {
    assert.strictEqual(openFilesBelow(root), 0, "files were left open");
    assert.deepStrictEqual(
      Object.keys(listing(root)).filter((path) => !path.startsWith("out")),
      ["archive"],
      "something was written outside of the folder",
    );
    removeFolder(root);
  };
});

const unpackBytes = async (bytes: Buffer, limits = LIMITS) => {
  const path = join(root, "archive");
  writeFileSync(path, bytes);
  const archive = await openArchive(path);
  try {
    const folder = { path: out(), shown: "/app" };
    return await unpackArchive(archive, folder, limits, new AbortController().signal);
  } finally {
    await archive.handle.close();
  }
};

const modeOf = (name: string) => lstatSync(join(out(), name)).mode & 0o7777;

/** The listing of the unpacked members. */
const unpack = async (members: ReadonlyArray<TarMember>, limits = LIMITS) => {
  await unpackBytes(tarGz(members), limits);
  return listing(out());
};

/** The reason of a refusal. */
const refusal = async (members: ReadonlyArray<TarMember>, limits = LIMITS): Promise<string> => {
  const error = await unpack(members, limits).then(
    (unpacked) => assert.fail(`unpacked ${JSON.stringify(unpacked)}`),
    (one: unknown) => one,
  );
  assert.instanceOf(error, ArchiveRefused);
  return error.reason;
};

/** The reason why an archive is broken. */
const damage = async (bytes: Buffer): Promise<string> => {
  const error = await unpackBytes(bytes).then(
    (unpacked) => assert.fail(`unpacked ${JSON.stringify(unpacked)}`),
    (one: unknown) => one,
  );
  assert.instanceOf(error, ArchiveBroken);
  return error.reason;
};

const LONG = `${"folder/".repeat(20)}${"n".repeat(90)}`;

describe("formats of archives", () => {
  it("unpacks files, folders and programs, as tarfile adds them", async () => {
    const members: ReadonlyArray<TarMember> = [
      { name: "./", type: "5" },
      { name: "./package/", type: "5" },
      { name: "./package/main.py", content: "print()" },
      { name: "run", content: "#!", mode: 0o755 },
      { name: "implied/parents/file", content: "" },
    ];
    assert.deepStrictEqual(await unpack(members), {
      implied: "folder",
      "implied/parents": "folder",
      "implied/parents/file": "file: ",
      package: "folder",
      "package/main.py": "file: print()",
      run: "program: #!",
    });
  });

  it.each<readonly [string, ReadonlyArray<TarMember>, number]>([
    ["the header", [{ name: "file", modified: "15302064444\0" }], 0o15302064444],
    ["pax", [pax({ mtime: "1795713315.9" }), { name: "file", modified: "1\0" }], 1795713315],
    [
      "the header if pax has no valid one",
      [pax({ mtime: "-1" }), { name: "file", modified: "7" }],
      7,
    ],
    ["no valid field, which is 1970", [{ name: "file", modified: "\xff\xff\xff" }], 0],
  ])("keeps the modification time from %s", async (_source, members, seconds) => {
    await unpack(members);
    assert.strictEqual(lstatSync(join(out(), "file")).mtimeMs, 1000 * seconds);
  });

  it("reports files and folders, parents first", async () => {
    const unpacked = await unpackBytes(
      tarGz([{ name: "a/b/file" }, { name: "link", type: "2", link: "a" }]),
    );
    assert.deepStrictEqual(unpacked, { files: ["a/b/file", "link"], folders: ["a", "a/b"] });
  });

  it.each<readonly [string, ReadonlyArray<TarMember>]>([
    ["a ustar prefix", [{ name: LONG.slice(140), prefix: LONG.slice(0, 139), content: "x" }]],
    [
      "a long name of GNU",
      [
        { name: "@", type: "L", content: `${LONG}\0` },
        { name: "cut", content: "x" },
      ],
    ],
    ["a pax path", [pax({ path: LONG, mtime: "1.5" }), { name: "cut", content: "x" }]],
    [
      "a pax path with an old type",
      [
        { ...pax({ path: LONG }), type: "X" },
        { name: "cut", content: "x" },
      ],
    ],
  ])("reads a long name from %s", async (_format, members) => {
    assert.strictEqual((await unpack([...members, { name: "next" }]))[LONG], "file: x");
  });

  it("reads long link targets of GNU and pax", async () => {
    const target = `${"t".repeat(200)}`;
    const unpacked = await unpack([
      { name: "@", type: "K", content: `${target}\0` },
      { name: "gnu", type: "2", link: "cut" },
      pax({ linkpath: target }),
      { name: "pax", type: "2", link: "cut" },
      { name: "plain", type: "2", link: "short" },
    ]);
    assert.deepStrictEqual(unpacked, {
      gnu: `link to ${target}`,
      pax: `link to ${target}`,
      plain: "link to short",
    });
  });

  it("prefers pax records of a member to global ones, and an empty one to none", async () => {
    const unpacked = await unpack([
      pax({ path: "global" }, "g"),
      pax({ path: "own" }),
      { name: "a", content: "1" },
      { name: "b", content: "2" },
    ]);
    assert.deepStrictEqual(unpacked, { global: "file: 2", own: "file: 1" });
  });

  it("uses the size in a pax record", async () => {
    const member = tarMember({ name: "big", content: "12345", size: "00000000000\0" });
    await unpackBytes(
      gzipSync(
        Buffer.concat([
          tarMember(pax({ size: "5" })),
          member,
          tarMember({ name: "next" }),
          TAR_END,
        ]),
      ),
    );
    assert.deepStrictEqual(listing(out()), { big: "file: 12345", next: "file: " });
  });

  it("reads a size in base 256", async () => {
    const size = `\x80${"\0".repeat(10)}\x03`;
    assert.deepStrictEqual(await unpack([{ name: "file", content: "abc", size }]), {
      file: "file: abc",
    });
  });

  it("takes a file with a trailing slash as a folder in the oldest format", async () => {
    assert.deepStrictEqual(await unpack([{ name: "old/", type: "\0", magic: "" }]), {
      old: "folder",
    });
  });

  it("reads names with any characters of Unicode", async () => {
    assert.deepStrictEqual(await unpack([{ name: "größe/日本.py" }]), {
      größe: "folder",
      "größe/日本.py": "file: ",
    });
  });

  it("unpacks an archive whose data arrives in any parts", async () => {
    const content = "0123456789".repeat(30_000);
    const unpacked = await unpack([
      ...Array.from({ length: 300 }, (_, index) => ({ name: `f${index}`, content: `${index}` })),
      { name: "large", content },
    ]);
    assert.strictEqual(unpacked["large"], `file: ${content}`);
    assert.strictEqual(unpacked["f299"], "file: 299");
  });

  it("unpacks an archive without members", async () => {
    assert.deepStrictEqual(await unpack([]), {});
  });
});

describe("links and duplicates in archives", () => {
  it("keeps links that stay inside, also through folders and to missing files", async () => {
    const members: ReadonlyArray<TarMember> = [
      { name: "a/file", content: "x" },
      { name: "a/up", type: "2", link: "../b/../a/file" },
      { name: "folder", type: "2", link: "a/." },
      { name: "missing", type: "2", link: "a/none/x" },
      { name: "folder/through", content: "y" },
      { name: "folder/", type: "5" },
    ];
    const unpacked = await unpack(members);
    assert.deepStrictEqual(unpacked, {
      a: "folder",
      "a/file": "file: x",
      "a/through": "file: y",
      "a/up": "link to ../b/../a/file",
      folder: "link to a/.",
      missing: "link to a/none/x",
    });
  });

  it("keeps hard links as such, also through links", async () => {
    const unpacked = await unpack([
      { name: "a/file", content: "x" },
      { name: "link", type: "2", link: "a" },
      { name: "hard", type: "1", link: "link/file" },
      { name: "hard", type: "1", link: "hard" },
      { name: "copy", type: "1", link: "link" },
    ]);
    assert.strictEqual(unpacked["hard"], "file: x");
    assert.strictEqual(unpacked["copy"], "link to a");
    assert.strictEqual(statSync(join(out(), "hard")).ino, statSync(join(out(), "a/file")).ino);
  });

  it("replaces an earlier file, but not another hard link of it", async () => {
    const unpacked = await unpack([
      { name: "file", content: "old" },
      { name: "hard", type: "1", link: "file" },
      { name: "file", content: "new" },
      { name: "link", type: "2", link: "file" },
      { name: "link", type: "2", link: "hard" },
    ]);
    assert.deepStrictEqual(unpacked, {
      file: "file: new",
      hard: "file: old",
      link: "link to hard",
    });
  });

  it.each<readonly [string, string, ReadonlyArray<TarMember>]>([
    ["an absolute name", '"/etc/x", whose name is an absolute path', [{ name: "/etc/x" }]],
    ["a name that leaves the root", '"a/../../x", which leads outside', [{ name: "a/../../x" }]],
    [
      "a name that ends with ..",
      '"a/..", whose name ends with ".."',
      [{ name: "a/..", type: "5" }],
    ],
    [
      "an absolute link",
      '"l", a link to "/etc/passwd", which is an absolute path',
      [{ name: "l", type: "2", link: "/etc/passwd" }],
    ],
    [
      "a link that leaves the root",
      '"a/l", a link to "../../x", which leads outside',
      [{ name: "a/l", type: "2", link: "../../x" }],
    ],
    [
      "a link that leaves the root and returns",
      '"l", a link to "../out/x", which leads outside',
      [{ name: "l", type: "2", link: "../out/x" }],
    ],
    ["a link without a target", '"l", a link without a target', [{ name: "l", type: "2" }]],
    [
      "a hard link that leaves the root",
      '"l", a hard link to "../archive", which leads outside',
      [{ name: "l", type: "1", link: "../archive" }],
    ],
    [
      "an absolute hard link",
      '"l", a hard link to "/etc/passwd", which leads outside',
      [{ name: "l", type: "1", link: "/etc/passwd" }],
    ],
    [
      "a hard link to a missing file",
      '"l", a hard link to "x", which is not an earlier file',
      [{ name: "l", type: "1", link: "x" }],
    ],
    [
      "a hard link to a folder",
      '"l", a hard link to "f", which is not an earlier file',
      [
        { name: "f", type: "5" },
        { name: "l", type: "1", link: "f" },
      ],
    ],
    ["a member below a file", '"f/x", which is below a file', [{ name: "f" }, { name: "f/x" }]],
    [
      "a file instead of a link",
      '"l", a file, but an earlier link',
      [
        { name: "l", type: "2", link: "x" },
        { name: "l", content: "x" },
      ],
    ],
    [
      "a link instead of a file",
      '"f", a link, but an earlier file',
      [{ name: "f" }, { name: "f", type: "2", link: "x" }],
    ],
    [
      "a folder instead of a file",
      '"f/", a folder, but an earlier file',
      [{ name: "f" }, { name: "f/", type: "5" }],
    ],
    [
      "a folder instead of a dangling link",
      '"l/", a folder, but an earlier link',
      [
        { name: "l", type: "2", link: "x" },
        { name: "l/", type: "5" },
      ],
    ],
    ["a file instead of the root", '"./", which is not a folder', [{ name: "./" }]],
    [
      "a link loop in a name",
      '"a/x", which leads into a loop of links',
      [{ name: "a", type: "2", link: "b" }, { name: "b", type: "2", link: "a" }, { name: "a/x" }],
    ],
    ["a character device", '"d", a device, which is not supported', [{ name: "d", type: "3" }]],
    ["a block device", '"d", a device, which is not supported', [{ name: "d", type: "4" }]],
    ["a named pipe", '"p", a named pipe', [{ name: "p", type: "6" }]],
    ["a sparse file of GNU", '"s", a sparse file', [{ name: "s", type: "S" }]],
    [
      "a sparse file of pax",
      '"s", a sparse file',
      [pax({ "GNU.sparse.name": "s", "GNU.sparse.major": "1" }), { name: "x" }],
    ],
    ["an unknown type", '"u", a member of the unknown type "Z"', [{ name: "u", type: "Z" }]],
    [
      "a line break in a name",
      String.raw`"a\nb", whose name contains control characters`,
      [{ name: "a\nb" }],
    ],
    [
      "NUL in a pax path",
      "whose name contains control characters",
      [pax({ path: "a\0b" }), { name: "x" }],
    ],
    [
      "control characters in a link",
      "whose name contains control characters",
      [{ name: "l", type: "2", link: "a\tb" }],
    ],
    ["a name that is not UTF-8", "whose name is not UTF-8", [{ name: Buffer.from([0x61, 0xff]) }]],
    [
      "a long part of a name",
      "whose name is too long",
      [pax({ path: "n".repeat(256) }), { name: "x" }],
    ],
    ["a long name", "whose name is too long", [pax({ path: "n/".repeat(2100) }), { name: "x" }]],
    [
      "a large extended header",
      "an extended header of 1048577 bytes",
      [{ name: "x", type: "x", content: " ".repeat(1024 * 1024 + 1) }],
    ],
  ])("refuses %s", async (_what, reason, members) => {
    assert.include(await refusal([{ name: "first" }, ...members]), reason);
  });

  it.each<readonly [string, string, ReadonlyArray<TarMember>]>([
    [
      "a link to a link",
      '"b/x", which leads outside',
      [
        { name: "a", type: "2", link: "." },
        { name: "b", type: "2", link: "a/.." },
        { name: "b/x", content: "!" },
      ],
    ],
    [
      "a link whose way was changed later",
      '"b", a link to "d/a/../../x", which leads outside',
      [
        { name: "b", type: "2", link: "d/a/../../x" },
        { name: "d/a", type: "2", link: ".." },
      ],
    ],
    [
      "a link that replaces another one",
      '"b", a link to "a/../../x", which leads outside',
      [
        { name: "d/e/file" },
        { name: "a", type: "2", link: "d/e" },
        { name: "b", type: "2", link: "a/../../x" },
        { name: "a", type: "2", link: "d" },
      ],
    ],
    [
      "a hard link to a link, from another folder",
      '"h", a link to "../x", which leads outside',
      [
        { name: "d/l", type: "2", link: "../x" },
        { name: "h", type: "1", link: "d/l" },
      ],
    ],
  ])("refuses to leave the root by %s", async (_what, reason, members) => {
    assert.include(await refusal(members), reason);
  });

  it("does not follow an absolute link that a hard link leads through", async () => {
    assert.include(
      await refusal([
        { name: "l", type: "2", link: "../" },
        { name: "h", type: "1", link: "l/archive" },
      ]),
      '"h", a hard link to "l/archive", which leads outside',
    );
  });
});

describe("limits of archives", () => {
  it("refuses more bytes than allowed while they are read", async () => {
    const bomb = gzipSync(
      Buffer.concat([tarMember({ name: "zeros", content: Buffer.alloc(20_000_000) }), TAR_END]),
    );
    assert.isBelow(bomb.length, 30_000);
    const error = await unpackBytes(bomb).then(
      () => assert.fail("it was unpacked"),
      (one: unknown) => one,
    );
    assert.instanceOf(error, ArchiveRefused);
    assert.include(error.reason, "is larger than 10000000 bytes when unpacked");
    assert.isAtMost(statSync(join(out(), "zeros")).size, LIMITS.maxBytes);
  });

  it("counts headers and the end of the archive as bytes", async () => {
    const headers = Array.from({ length: 10 }, () => pax({ comment: "x" }));
    assert.include(await refusal(headers, { ...LIMITS, maxBytes: 5000 }), "larger than 5000 bytes");
    const bomb = gzipSync(Buffer.concat([tar([{ name: "file" }]), Buffer.alloc(20_000_000)]));
    const error = await unpackBytes(bomb).then(
      () => assert.fail("it was unpacked"),
      (one: unknown) => one,
    );
    assert.instanceOf(error, ArchiveRefused);
  });

  it("refuses more members than allowed, and counts parents and replaced files", async () => {
    const limits = { ...LIMITS, maxMembers: 3 };
    assert.deepStrictEqual(Object.keys(await unpack([{ name: "a/b/c" }], limits)).length, 3);
    assert.include(await refusal([{ name: "x/b/c/d" }], limits), "more than 3 files");
    assert.include(
      await refusal(
        Array.from({ length: 4 }, () => ({ name: "same" })),
        limits,
      ),
      "more than 3 files",
    );
  });
});

describe("broken archives", () => {
  const whole = tarGz([{ name: "file", content: "0123456789".repeat(1000) }, { name: "b" }]);
  const inner = tar([{ name: "file", content: "x" }]);

  it.each<readonly [string, Buffer, string]>([
    ["an empty file", Buffer.alloc(0), "is incomplete"],
    ["a text", Buffer.from("not an archive"), "is damaged, or not a gzip file"],
    ["a truncated file", whole.subarray(0, whole.length - 20), "is incomplete"],
    ["a file without its checksum", whole.subarray(0, whole.length - 8), "is incomplete"],
    [
      "a file with a wrong checksum",
      Buffer.concat([whole.subarray(0, -8), Buffer.alloc(8)]),
      "is damaged",
    ],
    ["a compressed text", gzipSync("x".repeat(1000)), "invalid checksum"],
    ["a short compressed text", gzipSync("x"), "ends in the middle of a file"],
    [
      "zeros after the compressed part",
      Buffer.concat([whole, Buffer.alloc(20)]),
      "has data after the end of its compressed part",
    ],
    [
      "data after the compressed part",
      Buffer.concat([whole, Buffer.from("garbage")]),
      "is damaged",
    ],
    [
      "data after the end of the archive",
      gzipSync(Buffer.concat([inner, tarMember({ name: "more" })])),
      "has data after its end",
    ],
    [
      "an archive without an end",
      gzipSync(inner.subarray(0, 1024)),
      "ends in the middle of a file",
    ],
    [
      "an archive that ends in a file",
      gzipSync(inner.subarray(0, 513)),
      "ends in the middle of a file",
    ],
    [
      "a wrong checksum of a header",
      tarGz([{ name: "x", checksum: "0000001\0" }]),
      "a header with a wrong checksum",
    ],
    ["an invalid size", tarGz([{ name: "x", size: "9x" }]), "a header with an invalid size"],
    [
      "a negative size",
      tarGz([{ name: "x", size: "\xff".repeat(12) }]),
      "a header with an invalid size",
    ],
    [
      "an invalid size in a pax record",
      tarGz([pax({ size: "-1" }), { name: "x" }]),
      "an extended header with an invalid size",
    ],
    [
      "a pax record without a length",
      tarGz([{ name: "p", type: "x", content: "path=x\n" }]),
      "an invalid extended header",
    ],
    [
      "a pax record that is too long",
      tarGz([{ name: "p", type: "x", content: "99 path=x\n" }]),
      "an invalid extended header",
    ],
    [
      "a pax record without a value",
      tarGz([{ name: "p", type: "x", content: "8 path\n\n" }]),
      "an invalid extended header",
    ],
    [
      "a pax record without a line break",
      tarGz([{ name: "p", type: "x", content: "9 path=xx" }]),
      "an invalid extended header",
    ],
  ])("recognises %s", async (_what, bytes, reason) => {
    assert.include(await damage(bytes), reason);
  });

  it("fails for every archive that is cut anywhere", async () => {
    const small = tarGz([
      { name: "a", content: "x" },
      { name: "l", type: "2", link: "a" },
    ]);
    for (let length = 0; length < small.length; length += 1) {
      removeFolder(out());
      mkdirSync(out());
      assert.include(
        await damage(small.subarray(0, length)),
        "is incomplete",
        `after ${length} bytes`,
      );
    }
  });
});

describe("rights of unpacked files", () => {
  it("keeps no right of the archive but that a file can be executed", async () => {
    await unpack([
      { name: "f", mode: 0o6777 },
      { name: "d", type: "5", mode: 0o1777 },
      { name: "locked", type: "5", mode: 0 },
      { name: "locked/none", mode: 0 },
    ]);
    assert.deepStrictEqual(
      ["f", "d", "locked", "locked/none"].map((name) => modeOf(name) & ~process.umask()),
      [0o755, 0o755, 0o755, 0o644].map((mode) => mode & ~process.umask()),
    );
  });
});
