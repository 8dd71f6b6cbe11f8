import { assert, describe, it } from "@effect/vitest";
import { Effect, Option } from "effect";

import { deployedResource } from "../../src/settings/DeployedResource.ts";
import { Environment } from "../../src/settings/Environment.ts";

type Variables = Readonly<Record<string, string>>;

const ON_RUNPOD = { RUNPOD_ENDPOINT_ID: "e" };

describe("the deployed resource", () => {
  it.effect.each<readonly [Variables, string | undefined]>([
    [{ ...ON_RUNPOD, FLASH_RESOURCE_NAME: "greet" }, "greet"],
    [{ RUNPOD_POD_ID: "p", FLASH_RESOURCE_NAME: "greet" }, "greet"],
    [{ ...ON_RUNPOD, RUNPOD_RESOURCE_NAME: "greet" }, "greet"],
    [{ ...ON_RUNPOD, RUNPOD_RESOURCE_NAME: "other", FLASH_RESOURCE_NAME: "greet" }, "greet"],
    [ON_RUNPOD, undefined],
    [{ FLASH_RESOURCE_NAME: "greet" }, undefined],
    [{ ...ON_RUNPOD, FLASH_RESOURCE_NAME: "greet", RUNPOD_DEV_APP: "demo" }, undefined],
  ])("for %j is %s", ([variables, expected]) =>
    Effect.gen(function* () {
      assert.strictEqual(Option.getOrUndefined(yield* deployedResource), expected);
    }).pipe(Effect.provide(Environment.layerOf(variables))),
  );
});
