import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { isLoadBalanced } from "../../../src/cli/modes/EndpointType.ts";
import { Environment } from "../../../src/settings/Environment.ts";

type Variables = Readonly<Record<string, string>>;

describe("the endpoint", () => {
  it.effect.each<readonly [Variables, boolean]>([
    [{}, false],
    [{ FLASH_ENDPOINT_TYPE: "LB" }, true],
    [{ FLASH_ENDPOINT_TYPE: "queue" }, false],
    [{ RUNPOD_RUNTIME_KIND: "api" }, true],
    [{ RUNPOD_RUNTIME_KIND: "queue" }, false],
  ])("for %j is load balanced: %s", ([variables, expected]) =>
    Effect.gen(function* () {
      assert.strictEqual(yield* isLoadBalanced, expected);
    }).pipe(Effect.provide(Environment.layerOf(variables))),
  );
});
