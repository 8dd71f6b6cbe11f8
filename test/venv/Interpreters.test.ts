import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Option, Path } from "effect";

import { Environment } from "../../src/settings/Environment.ts";
import { Interpreters } from "../../src/venv/Interpreters.ts";
import { fakePrograms, type Outcome } from "../support/fakes/FakePrograms.ts";
import { memoryFileSystem, type Planted } from "../support/files/MemoryFileSystem.ts";

interface Machine {
  readonly planted?: Readonly<Record<string, Planted>>;
  readonly variables?: Readonly<Record<string, string>>;
  readonly answer?: (line: string) => Outcome | undefined;
}

const setUp = ({ planted = {}, variables = {}, answer = () => undefined }: Machine) => {
  const memory = memoryFileSystem(planted);
  const programs = fakePrograms(answer);
  const layer = Interpreters.layerNoDeps.pipe(
    Layer.provide([
      memory.layer,
      programs.layer,
      Path.layer,
      Environment.layerOf({ PATH: "/shims:/usr/local/bin::/usr/bin", ...variables }),
    ]),
  );
  return { memory, lines: programs.lines, provide: Effect.provide(layer) };
};

const base = Effect.flatMap(Interpreters, (python) => python.base);

const factsOf = (version: string, executable: string) =>
  JSON.stringify({ version, executable, sitePackages: [] });

describe("the Python interpreter", () => {
  it.effect(
    "is python3 on PATH, whose version is read from its file name without starting it",
    () => {
      const { lines, provide } = setUp({
        planted: {
          "/usr/bin/python3": { link: "python3.12" },
          "/usr/bin/python3.12": "ELF",
          "/usr/bin/python3.13": "ELF",
        },
      });
      return Effect.gen(function* () {
        assert.strictEqual((yield* base).executable, "/usr/bin/python3.12");
        assert.isEmpty(lines);
      }).pipe(provide);
    },
  );

  it.effect("is searched once, and has a new identity when its file changes", () => {
    const { memory, provide } = setUp({ planted: { "/usr/bin/python3.12": "ELF" } });
    return Effect.gen(function* () {
      const first = yield* provide(base);
      assert.deepStrictEqual(yield* provide(base), first);
      memory.plant({ "/usr/bin/python3.12": "ELF of another build" });
      assert.notStrictEqual((yield* provide(base)).identity, first.identity);
      yield* Effect.gen(function* () {
        const kept = yield* base;
        memory.uproot("/usr/bin/python3.12");
        assert.deepStrictEqual(yield* base, kept);
      }).pipe(provide);
    });
  });

  it.effect("is the newest one with a version in its name if python3 is too old", () => {
    const { provide } = setUp({
      planted: {
        "/usr/bin/python3": { link: "python3.8" },
        "/usr/bin/python3.8": "ELF",
        "/usr/bin/python3.9": "ELF",
        "/usr/local/bin/python3.11": "ELF",
      },
    });
    return Effect.gen(function* () {
      assert.strictEqual((yield* base).executable, "/usr/local/bin/python3.11");
    }).pipe(provide);
  });

  it.effect("is the one that a shim runs", () => {
    const { lines, provide } = setUp({
      planted: { "/shims/python3": "#!/bin/sh\nexec other", "/opt/python/bin/python3.13": "ELF" },
      answer: (line) =>
        line.startsWith("/shims/python3 -I -c ")
          ? factsOf("3.13.0", "/opt/python/bin/python3.13")
          : undefined,
    });
    return Effect.gen(function* () {
      assert.strictEqual((yield* base).executable, "/opt/python/bin/python3.13");
      assert.lengthOf(lines, 1);
    }).pipe(provide);
  });

  it.effect("is run to get its version if the file name has none", () => {
    const { provide } = setUp({
      planted: { "/opt/own": "ELF" },
      variables: { WORKER_PYTHON: "/opt/own" },
      answer: () => factsOf("3.10.2", "/opt/own"),
    });
    return Effect.gen(function* () {
      assert.strictEqual((yield* base).executable, "/opt/own");
    }).pipe(provide);
  });

  it.effect("is skipped if it does not run", () => {
    const { provide } = setUp({
      planted: { "/shims/python3": "#!/bin/sh\n", "/usr/bin/python3.11": "ELF" },
      answer: () => ({ exitCode: 127, output: "pyenv: version not installed" }),
    });
    return Effect.gen(function* () {
      assert.strictEqual((yield* base).executable, "/usr/bin/python3.11");
    }).pipe(provide);
  });

  it.effect.each([
    ["no interpreter was found", {}],
    ["python3.8 is Python 3.8", { "/usr/bin/python3.8": "ELF" }],
    ["is Python 3.7.16", { "/usr/bin/python3.8": "#!x" }],
    ["does not run", { "/usr/bin/python3.8": { link: "/gone" } }],
  ] as const)("of WORKER_PYTHON is the only candidate: %s", ([reason, planted]) => {
    const name = "python3.8";
    const { provide } = setUp({
      planted: { "/usr/bin/python3": "ELF", ...planted },
      variables: { WORKER_PYTHON: name },
      answer: () => factsOf("3.7.16", "/x"),
    });
    return Effect.gen(function* () {
      const error = yield* Effect.flip(base);
      assert.strictEqual(error._tag, "PythonNotFound");
      assert.deepStrictEqual(error.tried, [name]);
      assert.include(
        error.message,
        reason === "does not run" ? "no interpreter was found" : reason,
      );
      assert.include(error.message, "Install Python 3.9 or newer, or set WORKER_PYTHON");
    }).pipe(provide);
  });

  it.effect("of the image is none unless WORKER_IMAGE_PYTHON is set", () => {
    const planted = { "/usr/bin/python3.12": "ELF", "/opt/conda/bin/python3.11": "ELF" };
    const image = Effect.flatMap(Interpreters, (python) => python.image);
    const without = setUp({ planted });
    const withOne = setUp({
      planted,
      variables: { WORKER_IMAGE_PYTHON: "/opt/conda/bin/python3.11" },
    });
    return Effect.gen(function* () {
      assert.deepStrictEqual(yield* without.provide(image), Option.none());
      const found = yield* withOne.provide(image);
      assert.strictEqual(Option.getOrThrow(found).executable, "/opt/conda/bin/python3.11");
    });
  });

  it.effect("is named in the error if its output is invalid", () => {
    const { provide } = setUp({ answer: () => "Welcome!\n{}" });
    return Effect.gen(function* () {
      const python = yield* Interpreters;
      const error = yield* Effect.flip(python.facts("/opt/python"));
      assert.include(error.message, "/opt/python");
    }).pipe(provide);
  });
});
