import { assert, describe, it } from "@effect/vitest";

import { isLoopback } from "../../../src/endpoint/http/Loopback.ts";

describe("isLoopback", () => {
  it.each(["127.0.0.1", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1", "localhost", "LocalHost"])(
    "is true for %s",
    (host) => assert.isTrue(isLoopback(host)),
  );

  it.each([
    "",
    "0.0.0.0",
    "::",
    "126.255.255.255",
    "128.0.0.1",
    "192.168.1.5",
    "::2",
    "fe80::1",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "worker.localhost",
    "gpu-box",
  ])("is false for %j", (host) => assert.isFalse(isLoopback(host)));
});
