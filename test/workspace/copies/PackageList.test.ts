import { assert, describe, it } from "@effect/vitest";
import { Option } from "effect";

import {
  type Archives,
  decodeArchive,
  decodePackageList,
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
