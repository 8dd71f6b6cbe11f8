import { assert, describe, it } from "@effect/vitest";

import { withoutCredentials } from "../../src/settings/Credentials.ts";

describe("withoutCredentials", () => {
  it.each([
    ["https://me:pw@host/x", "https://***@host/x"],
    ["https://token@host", "https://***@host"],
    ["https://me:p@ss@host/x@1", "https://***@host/x@1"],
    ["git+ssh://git@github.com/x", "git+ssh://git@github.com/x"],
    ["postgres://u:p@h/db and redis://:pw@r", "postgres://***@h/db and redis://***@r"],
    ["https://host/path@1.0", "https://host/path@1.0"],
    ["x@y.example", "x@y.example"],
    ["https://h/?X-Amz-Signature=abc&b=c", "https://h/?X-Amz-Signature=***&b=c"],
    ["https://h/?next=https://h/?token=abc", "https://h/?next=https://h/?token=***"],
    ["https://h/?api_key=", "https://h/?api_key="],
  ])("shows %s as %s", (text, shown) => {
    assert.strictEqual(withoutCredentials(text), shown);
  });

  it.each([
    "a",
    ".",
    "?",
    "?token",
    "?a",
    "&key=",
    "?a=",
    "a://",
    "://",
    "@",
    "://@",
    "a://b:",
    "key",
  ])("takes milliseconds for a long text of nothing but %s", (unit) => {
    const text = unit.repeat(Math.ceil(400_000 / unit.length));
    const times = [1, 2, 3].map(() => {
      const { user } = process.cpuUsage();
      withoutCredentials(text);
      return (process.cpuUsage().user - user) / 1000;
    });
    assert.isBelow(Math.min(...times), 100);
  });
});
