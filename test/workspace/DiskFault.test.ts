import { assert, describe, it } from "@effect/vitest";

import { diskFault } from "../../src/workspace/DiskFault.ts";
import { platformError } from "../support/MemoryFileSystem.ts";

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
    ["ESTALE", "lost"],
  ])("names path, problem, reason and what to do: %s", (code, word) => {
    const fault = faultOf(code);
    assert.strictEqual(fault.code, code);
    assert.include(fault.message, "/volume/x can't be written: ");
    assert.include(fault.message, word);
    assert.match(fault.message, new RegExp(`\\(${code}\\)\\. [A-Z].+\\.$`));
  });

  it("gives the system's own words for what it does not know", () => {
    const { code, message } = faultOf("EMFILE");
    assert.strictEqual(code, "EMFILE");
    assert.include(message, "FileSystem.writeFile");
  });
});
