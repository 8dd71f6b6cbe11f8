import { assert, describe, it } from "@effect/vitest";
import { Effect, Option } from "effect";

import { assertPythonVersion } from "../../../src/apps/manifest/PythonVersion.ts";

const app = (version?: string) => ({ pythonVersion: Option.fromUndefinedOr(version) });

describe("the version of Python that an app was built for", () => {
  it.effect.each<readonly [string | undefined, string]>([
    ["3.11", "3.11.9"],
    ["3.11.2", "3.11.9"],
    [undefined, "3.12.1"],
    ["unknown", "3.12.1"],
  ])("%s is accepted by %s", ([target, actual]) => assertPythonVersion(app(target), actual));

  it.effect.each<readonly [string, string]>([
    ["3.11", "3.12.1"],
    ["3.1", "3.11.0"],
    ["3.11", "3.1.0"],
  ])("%s is refused by %s", ([target, actual]) =>
    Effect.gen(function* () {
      const { phase, reason, advice } = yield* Effect.flip(
        assertPythonVersion(app(target), actual),
      );
      const minor = actual.slice(0, actual.lastIndexOf("."));
      assert.strictEqual(phase, "verify");
      assert.include(reason, `built for Python ${target}, but this worker has ${minor},`);
      assert.include(advice, `--python-version ${minor}`);
    }),
  );
});
