/* oxlint-disable no-await-in-loop -- archives are unpacked one after the other */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { assert, beforeAll, describe, it } from "@effect/vitest";
import { Schema } from "effect";

import { openArchive, unpackArchive } from "../../../src/apps/artifact/Unpack.ts";
import { ArchiveRefused } from "../../../src/apps/artifact/tar/ArchiveError.ts";
import { listing } from "../../support/files/Listing.ts";
import { makeTemporaryFolder, removeFolder } from "../../support/files/TemporaryFolder.ts";

const MAKER = fileURLToPath(new URL("../../support/python/archives.py", import.meta.url));

const ARCHIVES = 200;

/** Other archives each time; a failure names its seed. */
const FIRST_SEED = Number(process.env["TARFILE_SEED"] ?? Math.floor(Math.random() * 1e9));

const decode = Schema.decodeUnknownSync(
  Schema.fromJsonString(
    Schema.Array(Schema.Union([Schema.Boolean, Schema.Record(Schema.String, Schema.String)])),
  ),
);

const LIMITS = { maxBytes: 100_000_000, maxMembers: 1000 };

describe("random archives of Python's tarfile", () => {
  let root = "";
  let expected: ReturnType<typeof decode> = [];

  beforeAll(() => {
    root = makeTemporaryFolder();
    const output = execFileSync("python3", [MAKER, root, String(FIRST_SEED), String(ARCHIVES)], {
      maxBuffer: 1024 ** 3,
    });
    expected = decode(output.toString());
    return () => removeFolder(root);
  }, 60_000);

  /** What this worker unpacks; the reason if it refuses the archive. */
  const unpack = async (seed: number) => {
    const out = join(root, "out", String(seed));
    mkdirSync(out, { recursive: true });
    const archive = await openArchive(join(root, String(seed)));
    try {
      const folder = { path: out, shown: out };
      await unpackArchive(archive, folder, LIMITS, new AbortController().signal);
      return listing(out);
    } catch (error) {
      if (error instanceof ArchiveRefused) return error.reason;
      throw error;
    } finally {
      await archive.handle.close();
    }
  };

  it("are unpacked as Python does, or refused for their links and duplicates", async () => {
    let unpacked = 0;
    for (const [index, python] of expected.entries()) {
      const replay = `To replay it: TARFILE_SEED=${FIRST_SEED + index}`;
      const own = await unpack(FIRST_SEED + index);
      if (typeof own === "string") {
        assert.match(own, /leads (outside|into a loop)|an earlier|below a file/, replay);
        continue;
      }
      assert.notStrictEqual(python, false, `Python refuses it. ${replay}`);
      if (python === true) continue;
      assert.deepStrictEqual<unknown>(own, python, replay);
      unpacked += 1;
    }
    assert.isAbove(unpacked, ARCHIVES / 3, "too few archives can be unpacked");
  });
});
