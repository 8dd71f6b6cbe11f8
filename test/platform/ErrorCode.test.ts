import { assert, describe, it } from "@effect/vitest";

import { codeOf } from "../../src/platform/ErrorCode.ts";
import { diskFault } from "../../src/platform/files/DiskFault.ts";
import { platformError } from "../support/files/MemoryFileSystem.ts";

describe("codeOf", () => {
  it.each([
    ["a system error", Object.assign(new Error("write"), { errno: -28, code: "ENOSPC" }), "ENOSPC"],
    ["an error of Effect's file system", platformError("EIO", "writeFile", "/volume/x"), "EIO"],
    [
      "a disk fault",
      diskFault("/x", "can't be read")(platformError("EROFS", "open", "/x")),
      "EROFS",
    ],
    [
      "a failed request",
      new TypeError("fetch failed", {
        cause: Object.assign(new Error(), { code: "ECONNREFUSED" }),
      }),
      "ECONNREFUSED",
    ],
    ["an error without a code", new Error("write"), "UNKNOWN"],
    ["an error whose code is a number", new DOMException("aborted", "AbortError"), "UNKNOWN"],
    ["an error whose cause is unknown", { reason: { cause: undefined } }, "UNKNOWN"],
    [
      "an error whose cause is undefined",
      Object.assign(new Error("write", { cause: undefined }), { code: "EIO" }),
      "EIO",
    ],
    ["a text", "write", "UNKNOWN"],
  ])("finds the code of %s", (_, error, code) => {
    assert.strictEqual(codeOf(error), code);
  });

  it("returns a given default for an error without a code", () => {
    assert.strictEqual(codeOf(new Error("write"), "none"), "none");
    assert.strictEqual(codeOf(platformError("EIO", "open", "/x"), "none"), "EIO");
  });
});
