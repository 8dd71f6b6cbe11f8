import { assert, describe, it } from "@effect/vitest";

import { diskFault } from "../../../src/platform/files/DiskFault.ts";
import { platformError } from "../../support/files/MemoryFileSystem.ts";

const faultOf = (code: string) =>
  diskFault("/volume/x", "can't be written")(platformError(code, "writeFile", "/volume/x"));

describe("DiskFault", () => {
  it.each([
    ["ENOSPC", "no space left"],
    ["EDQUOT", "quota"],
    ["EROFS", "read-only"],
    ["EACCES", "denied"],
    ["EPERM", "denied"],
    ["EIO", "failed"],
    ["ESTALE", "stale"],
    ["ENOTCONN", "not connected"],
    ["ELOOP", "symbolic link"],
    ["ENAMETOOLONG", "too long"],
    ["EMFILE", "open files"],
    ["ENFILE", "open files"],
    ["ENOTDIR", "not a folder"],
    ["EMLINK", "another hard link"],
    ["ENOENT", "does not exist"],
    ["ETIMEDOUT", "does not respond"],
  ])("names path, problem, reason and what to do: %s", (code, word) => {
    const fault = faultOf(code);
    assert.strictEqual(fault.code, code);
    assert.include(fault.message, "/volume/x can't be written: ");
    assert.include(fault.message, word);
    assert.match(fault.message, new RegExp(`\\(${code}\\)\\. [A-Z].+\\.$`));
  });

  it.each([
    [-122, "EDQUOT", "quota"],
    [-116, "ESTALE", "stale"],
  ])("knows the number of a fault that Node has no name for: %s", (errno, code, word) => {
    const unnamed = Object.assign(new Error("write"), {
      code: `Unknown system error ${errno}`,
      errno,
    });
    const fault = diskFault("/volume/x", "can't be written")(unnamed);
    assert.strictEqual(fault.code, code);
    assert.include(fault.message, word);
  });

  it.each([
    [
      "an error of Effect",
      platformError("EPROTO", "open", "/x"),
      platformError("EPROTO", "open", "/x").message,
    ],
    ["an error of Node", new Error("gone"), "gone"],
    ["no error", "gone", "gone"],
  ])("keeps the words of %s", (_, error, detail) => {
    assert.strictEqual(diskFault("/x", "can't be read")(error).detail, detail);
  });

  it("is not wrapped in another one", () => {
    const fault = faultOf("ENOSPC");
    assert.strictEqual(diskFault("/elsewhere", "can't be read")(fault), fault);
  });

  it("gives the system's own words for what it does not know", () => {
    const { code, message } = faultOf("EPROTO");
    assert.strictEqual(code, "EPROTO");
    assert.match(message, /FileSystem\.writeFile.* \(EPROTO\)\.$/);
  });
});
