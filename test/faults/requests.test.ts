import { assert, describe, it } from "@effect/vitest";
import { Clock, Effect, Fiber, Schedule } from "effect";

import { ask } from "../support/http/HttpRequest.ts";
import { serveProcess } from "../support/processes/Serve.ts";

const request = (fields: string) =>
  `{"input":{"function_name":"f","function_code":"def f(*a, **k): return 1","serialization_format":"json"${fields}}}`;

const keys = (count: number) =>
  `{${Array.from({ length: count }, (_, index) => `"k${index}":1`).join(",")}}`;

const nested = (depth: number) => `${"[".repeat(depth)}${"]".repeat(depth)}`;

/** Each one would block the event loop for seconds if it were parsed, decoded or copied without limits. */
const ATTACKS: ReadonlyArray<readonly [path: string, body: string]> = [
  ["/run", `{"input":${nested(4_500_000)}}`],
  ["/execute", nested(5_000_000)],
  ["/run", request(`,"args":${nested(4_500_000)}`)],
  ["/run", request(`,"kwargs":${keys(700_000)}`)],
  ["/execute", request(`,"constructor_kwargs":${keys(700_000)}`)],
  ["/runsync", request(`,"modules":${keys(300_000)}`)],
  ["/run", request(`,"unknown":${keys(700_000)}`)],
  ["/runsync", request(`,"args":[[${"[],".repeat(1_000_000)}[]]]`)],
  ["/runsync", request(`,"kwargs":${keys(49_000)}`)],
  ["/runsync", request(`,"args":[[${"[],".repeat(99_000)}[]]]`)],
  ["/runsync", request(`,"args":["${"x".repeat(19_000_000)}"]`)],
  ["/runsync", request(`,"args":["${'\\"'.repeat(9_000_000)}"]`)],
  ["/runsync", request(`,"instance_id":"${"x".repeat(9_000_000)}"`)],
];

/** The maximum latency of a ping in milliseconds, with tolerance for a busy machine. */
const MAX_PING_LATENCY = 2500;

describe("serve", () => {
  it.live("responds to pings while it receives requests that try to block the event loop", () =>
    Effect.gen(function* () {
      const { port } = yield* serveProcess();
      yield* ask(port, "/runsync", { body: request("") });
      let longest = 0;
      let count = 0;
      const ping = Effect.gen(function* () {
        const started = yield* Clock.currentTimeMillis;
        yield* ask(port, "/ping");
        longest = Math.max(longest, (yield* Clock.currentTimeMillis) - started);
        count += 1;
      });
      const pinging = yield* Effect.forkChild(Effect.repeat(ping, Schedule.spaced("10 millis")));
      for (const [path, body] of ATTACKS) {
        const { status } = yield* ask(port, path, { body });
        assert.include([200, 400], status);
      }
      yield* Fiber.interrupt(pinging);
      assert.isAbove(count, 0);
      assert.isBelow(longest, MAX_PING_LATENCY);
    }).pipe(Effect.scoped),
  );
});
