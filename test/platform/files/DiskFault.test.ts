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
  ])("names path, problem, reason and advice: %s", (code, word) => {
    const fault = faultOf(code);
    assert.strictEqual(fault.code, code);
    assert.include(fault.message, "/volume/x can't be written: ");
    assert.include(fault.message, word);
    assert.match(fault.message, new RegExp(`\\(${code}\\)\\. [A-Z].+\\.$`));
  });

  it.each([
    [-122, "EDQUOT", "quota"],
    [-116, "ESTALE", "stale"],
  ])("recognizes an error number that Node has no name for: %s", (errno, code, word) => {
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
    ["a value that is not an error", "gone", "gone"],
  ])("keeps the message of %s", (_, error, detail) => {
    assert.strictEqual(diskFault("/x", "can't be read")(error).detail, detail);
  });

  it("is not wrapped in another DiskFault", () => {
    const fault = faultOf("ENOSPC");
    assert.strictEqual(diskFault("/elsewhere", "can't be read")(fault), fault);
  });

  it("shows the system's message for an unknown code", () => {
    const { code, message } = faultOf("EPROTO");
    assert.strictEqual(code, "EPROTO");
    assert.match(message, /FileSystem\.writeFile.* \(EPROTO\)\.$/);
  });
});
