import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, FileSystem, Layer, Path } from "effect";

import { SystemPackages } from "../../src/dependencies/SystemPackages.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { fakePrograms, type Outcome } from "../support/FakePrograms.ts";

/** A Debian of which dpkg has curl, and whose mirrors have ffmpeg and g++ as well. */
const debian = (line: string): Outcome | undefined => {
  if (line.startsWith("dpkg-query")) {
    return line.endsWith(" curl")
      ? "installed 7.88.1-10"
      : { exitCode: 1, output: "no packages found" };
  }
  if (line === "id -u") return "0\n";
  if (line.includes("install")) {
    return / -- (?:ffmpeg|g\+\+|curl=8)(?: |$)/.test(line)
      ? "done"
      : { exitCode: 100, output: "E: Unable to locate package nonsense" };
  }
  return line.startsWith("apt-get") ? "ok" : undefined;
};

const setUp = (answer: (line: string) => Outcome | undefined, lists = "none") => {
  const { lines, layer } = fakePrograms(answer);
  return {
    apt: () =>
      lines
        .filter((line) => line.startsWith("apt-get -o"))
        .map((line) => line.replace(/^apt-get -o \S+ /, "")),
    provide: Effect.provide(
      SystemPackages.layerNoDeps.pipe(
        Layer.provide([
          layer,
          Environment.layerOf({ WORKER_APT_LISTS: lists }),
          NodeServices.layer,
        ]),
      ),
    ),
  };
};

const ensure = (...names: ReadonlyArray<string>) =>
  Effect.flatMap(SystemPackages, (packages) => packages.ensure(names));

describe("SystemPackages", () => {
  it.effect("runs no apt for what dpkg has", () => {
    const { apt, provide } = setUp(debian);
    return Effect.gen(function* () {
      assert.deepStrictEqual(yield* ensure("curl", "curl=7.88.1-10"), []);
      assert.isEmpty(apt());
    }).pipe(provide);
  });

  it.effect(
    "fetches the lists where there are none, installs the rest, and does neither again",
    () => {
      const { apt, provide } = setUp(debian);
      return Effect.gen(function* () {
        assert.deepStrictEqual(yield* ensure("curl", "ffmpeg"), ["ffmpeg"]);
        yield* ensure("ffmpeg");
        assert.deepStrictEqual(apt(), ["update", "install -y --no-install-recommends -- ffmpeg"]);
      }).pipe(provide);
    },
  );

  it.effect("uses lists that are fresh as they are", () =>
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const path = yield* Path.Path;
      const lists = yield* files.makeTempDirectoryScoped();
      yield* files.writeFileString(path.join(lists, "mirror_main_Packages.lz4"), "");
      const { apt, provide } = setUp(debian, lists);
      yield* ensure("ffmpeg").pipe(provide);
      assert.deepStrictEqual(apt(), ["install -y --no-install-recommends -- ffmpeg"]);
    }).pipe(Effect.provide(NodeServices.layer)),
  );

  it.effect("installs another version than dpkg has when one is named", () => {
    const { apt, provide } = setUp(debian);
    return Effect.gen(function* () {
      assert.deepStrictEqual(yield* ensure("curl=8"), ["curl=8"]);
      assert.include(apt().at(-1), "curl=8");
    }).pipe(provide);
  });

  it.effect.each([
    ["a package that is not there", debian, "nonsense", "there is no package named nonsense"],
    ["no root", (line) => (line === "id -u" ? "1000\n" : debian(line)), "ffmpeg", "only root can"],
    [
      "no apt",
      (line) => (line.startsWith("apt-get") ? undefined : debian(line)),
      "ffmpeg",
      "no apt-get",
    ],
    [
      "mirrors out of reach",
      (line) =>
        line.endsWith("update")
          ? { exitCode: 100, output: "Temporary failure resolving 'x'" }
          : debian(line),
      "ffmpeg",
      "can't be reached",
    ],
  ] as ReadonlyArray<readonly [string, (line: string) => Outcome | undefined, string, string]>)(
    "says so when there is %s, with the tool's words",
    ([, answer, name, reason]) => {
      const { provide } = setUp(answer);
      return Effect.gen(function* () {
        const error = yield* Effect.flip(ensure(name));
        assert.include(error.message, reason);
        assert.include(error.message, name);
      }).pipe(provide);
    },
  );

  it.effect("runs nothing at all for what may not be asked for", () => {
    const { apt, provide } = setUp(debian);
    return Effect.gen(function* () {
      const error = yield* Effect.flip(ensure("ffmpeg", "-oDPkg::Pre-Invoke=x"));
      assert.strictEqual(error._tag, "RequirementRejected");
      assert.isEmpty(apt());
    }).pipe(provide);
  });
});
