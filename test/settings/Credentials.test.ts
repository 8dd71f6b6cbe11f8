import { assert, describe, it } from "@effect/vitest";

import {
  secretParametersOf,
  userInfosOf,
  withoutCredentials,
} from "../../src/settings/Credentials.ts";

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
    ["https://h/?token=abc&b=c&key=d#e", "https://h/?token=***&b=c&key=***#e"],
    ["https://h/?token=abc&key=def", "https://h/?token=***&key=***"],
    ["https://h/?token=abc?key=def rest", "https://h/?token=*** rest"],
    ["https://h/?api_key=", "https://h/?api_key="],
    ["https://@host/?token=abc", "https://@host/?token=***"],
    ["no address, but ?token=abc", "no address, but ?token=***"],
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

describe("userInfosOf", () => {
  it.each([
    ["https://me:pw@host/x", ["me:pw"]],
    ["https://me:p@ss@host/x@1", ["me:p@ss"]],
    ["postgres://u:p@h/db and redis://:pw@r", ["u:p", ":pw"]],
    ["git+ssh://git@github.com/x", []],
    ["https://@host/x and https://host/x", []],
    ["me@host.example", []],
  ])("finds in %s the users and passwords %j", (text, infos) => {
    assert.deepStrictEqual(userInfosOf(text), infos);
  });
});

describe("secretParametersOf", () => {
  it("returns the name and position of each parameter with a secret name", () => {
    const text = "https://h/?a=1&token=abc&sig=de&key=";
    const found = secretParametersOf(text).map(({ name, start, end }) => [
      name,
      text.slice(start, end),
    ]);
    assert.deepStrictEqual(found, [
      ["token", "abc"],
      ["sig", "de"],
    ]);
  });
});
