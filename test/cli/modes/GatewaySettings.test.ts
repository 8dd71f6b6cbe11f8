import { assert, describe, it } from "@effect/vitest";
import { ConfigProvider, Effect } from "effect";

import {
  gatewayPorts,
  healthCheckPath,
  isLoadBalanced,
} from "../../../src/cli/modes/GatewaySettings.ts";

type Variables = Readonly<Record<string, string>>;

const withVariables = (variables: Variables) =>
  Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(variables)));

describe("the settings of the load balancer's requests", () => {
  it.effect("have each port once", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* withVariables({})(gatewayPorts), []);
      const same = withVariables({ PORT: "80", PORT_HEALTH: "80" });
      assert.deepStrictEqual(yield* same(gatewayPorts), [80]);
      const others = withVariables({ PORT: "80", PORT_HEALTH: "8080" });
      assert.deepStrictEqual(yield* others(gatewayPorts), [80, 8080]);
    }),
  );

  it.effect("have a path for the health check that starts with a slash", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* withVariables({})(healthCheckPath), "/ping");
      for (const path of ["health", "/health", " /health "]) {
        const given = withVariables({ HEALTH_CHECK_PATH: path });
        assert.strictEqual(yield* given(healthCheckPath), "/health", path);
      }
    }),
  );
});

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
    }).pipe(withVariables(variables)),
  );
});
