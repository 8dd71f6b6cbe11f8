import { assert, describe, it } from "@effect/vitest";
import { Option } from "effect";

import {
  type Archives,
  decodeArchive,
  decodePackageList,
  deferredIn,
  startContent,
} from "../../../src/workspace/copies/PackageList.ts";

const DIGEST = "0123456789abcdef".repeat(4);
const archive = { archive: `${DIGEST}.tar.zst`, files: 1, size: 5 };
const archives: Archives = {
  packages: [{ ...archive, record: "six-1.16.0.dist-info" }],
  others: { ...archive, archive: `${DIGEST}.tar` },
  links: ["lib/python3.12/site-packages/torch/lib/libtorch..so"],
};

const decodeWith = (more: Partial<Archives>) =>
  decodePackageList(JSON.stringify({ state: "s", archives: { ...archives, ...more } }));

describe("a list of packages", () => {
  it("is read as it was written", () => {
    assert.deepStrictEqual(decodeWith({}), Option.some({ state: "s", archives }));
  });

  it.each([
    `../${DIGEST}.tar`,
    "../../../../etc/passwd",
    `/${DIGEST}.tar.zst`,
    `${DIGEST}.tar.gz`,
    `${DIGEST}.tar\n`,
    "",
  ])("is ignored if it has an archive with the name %j, which may be another file", (name) => {
    const hostile = { ...archive, archive: name };
    assert.deepStrictEqual(decodeArchive(JSON.stringify(hostile)), Option.none());
    assert.deepStrictEqual(decodeWith({ others: hostile }), Option.none());
  });

  it.each(["/etc/cron.d/job", "../escaped", "lib/../../escaped", "lib\n/../../escaped", ".."])(
    "is ignored if it links %j, which is not in the virtual environment",
    (path) => {
      assert.deepStrictEqual(decodeWith({ links: [path] }), Option.none());
    },
  );
});

describe("the start archive", () => {
  const large = { ...archives, others: { ...archives.others, size: 33 * 1024 ** 2 } };
  const many = { ...archives, others: { ...archives.others, files: 2000 } };

  it("contains everything of a small virtual environment", () => {
    assert.deepStrictEqual(startContent(archives, ["lib/a"]), { key: "all", folders: null });
  });

  it.each([large, many])("contains the folders of a large one that jobs import from", (all) => {
    const content = startContent(all, ["lib/a"]);
    assert.deepStrictEqual(content?.folders, ["lib/a"]);
    assert.notStrictEqual(content?.key, startContent(all, ["lib/a", "lib/b"])?.key);
    assert.isUndefined(startContent(all, []), "it is not known which ones");
  });

  it("leaves what is not linked in complete copies for later", () => {
    const start = { ...archive, key: "k", links: ["lib/large.so", "lib/unused"] };
    assert.deepStrictEqual(deferredIn(start, ["lib/large.so", "lib/include"]), ["lib/unused"]);
    const { archives: read } = Option.getOrThrow(decodeWith({ start }));
    assert.deepStrictEqual(read?.start, start);
    assert.deepStrictEqual(decodeWith({ start: { ...start, links: ["../x"] } }), Option.none());
  });
});
