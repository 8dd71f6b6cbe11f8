import { assert, describe, it } from "@effect/vitest";
import { Effect, Option } from "effect";

import type { Place } from "../../src/venv/Place.ts";
import versions from "../../src/venv/versions.json" with { type: "json" };
import { fakeMachine } from "../support/machine/FakeMachine.ts";

const place: Place = {
  directory: "/runpod-volume/runtimes/default",
  shared: true,
  caches: "/runpod-volume",
  cachedModels: Option.none(),
};

const VENVS = `${place.directory}/.venvs`;

/** A machine with an empty folder for the endpoint. */
const setUp = (options: Parameters<typeof fakeMachine>[0] = {}) =>
  fakeMachine({ ...options, planted: { [place.directory]: null, ...options.planted } });

describe("a virtual environment", () => {
  it.effect(
    "is built under a temporary name, renamed when complete, and published by a link",
    () => {
      const seen: Array<ReadonlyArray<string>> = [];
      const machine = setUp({
        programs: (_, memory) => {
          seen.push(memory.paths(/\/\.venvs\/\d|\.venv$/));
          return undefined;
        },
      });
      return Effect.gen(function* () {
        const { venvs } = yield* machine.worker();
        const venv = yield* venvs.build(place, [], 0);
        assert.isEmpty(seen.flat());
        assert.match(venv.prefix, new RegExp(`^${VENVS}/3\\.12\\.1-[0-9a-f]{8}-1$`));
        assert.deepInclude(venv, { python: `${venv.prefix}/bin/python`, version: "3.12.1" });
        assert.strictEqual(
          machine.linkAt(`${place.directory}/.venv`),
          `.venvs/${venv.prefix.slice(VENVS.length + 1)}`,
        );
        assert.isEmpty(machine.memory.paths(/\.building-|\.venv-/));
        assert.deepStrictEqual(yield* venvs.find(place), Option.some(venv));
      }).pipe(Effect.scoped, machine.provide);
    },
  );

  it.effect("has the base packages and the requirements, and is relocatable", () => {
    const machine = setUp();
    return Effect.gen(function* () {
      const { venvs } = yield* machine.worker();
      const venv = yield* venvs.build(place, ["numpy<2", "CloudPickle>=3"], 0);
      const installed = String(machine.memory.show()[`${venv.prefix}/installed`]).split("\n");
      assert.deepStrictEqual(installed, ["aiohttp>=3.9", "numpy<2", "CloudPickle>=3"]);
      assert.deepStrictEqual(yield* venvs.requirements(venv), ["numpy<2", "CloudPickle>=3"]);
      assert.isTrue(machine.lines.some((line) => /^uv venv .*--relocatable /.test(line)));
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("has the image's packages after its own in sys.path", () => {
    const machine = setUp();
    return Effect.gen(function* () {
      const { venvs } = yield* machine.worker({ WORKER_IMAGE_PYTHON: "/usr/bin/python3.11" });
      const { prefix } = yield* venvs.build(place, [], 0);
      assert.strictEqual(
        machine.memory.show()[`${prefix}/lib/python3.12/site-packages/worker_tetra_image.pth`],
        "/usr/bin/python3.11-packages\n",
      );
      const other = yield* machine.worker();
      assert.deepStrictEqual(yield* other.venvs.find(place), Option.none());
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("has a higher number than earlier ones, and the newest is found", () => {
    const machine = setUp();
    return Effect.gen(function* () {
      const { venvs } = yield* machine.worker();
      for (let turn = 0; turn < 10; turn += 1) yield* venvs.build(place, [], 0);
      const found = Option.getOrThrow(yield* venvs.find(place));
      assert.strictEqual(found.number, 10);
      const numbers = (yield* venvs.all(place)).map(({ number }) => number);
      assert.deepStrictEqual(numbers, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
      assert.strictEqual(
        machine.linkAt(`${place.directory}/.venv`),
        `.venvs/${found.prefix.slice(VENVS.length + 1)}`,
      );
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect.each([
    ["its interpreter is missing", "bin/python", undefined],
    ["its interpreter is a broken link", "bin/python", { link: "/usr/bin/python3.6" }],
    ["pyvenv.cfg is missing", "pyvenv.cfg", undefined],
    ["pyvenv.cfg is empty", "pyvenv.cfg", ""],
    ["it has another version of Python", "pyvenv.cfg", "version_info = 3.12.2\n"],
    ["it is incomplete", ".worker-tetra-complete", undefined],
    ["it was invalidated", ".worker-tetra-condemned", ""],
  ] as const)("is not found if %s, but an older one is", ([, name, planted]) => {
    const machine = setUp();
    return Effect.gen(function* () {
      const { venvs } = yield* machine.worker();
      const older = yield* venvs.build(place, [], 0);
      const { prefix } = yield* venvs.build(place, [], 0);
      machine.memory.uproot(`${prefix}/${name}`);
      if (planted !== undefined) machine.memory.plant({ [`${prefix}/${name}`]: planted });
      assert.deepStrictEqual(yield* venvs.find(place), Option.some(older));
      assert.deepStrictEqual(yield* venvs.all(place), [older]);
      assert.strictEqual((yield* venvs.build(place, [], 0)).number, 3);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("is found without starting a process, and folders with other names are ignored", () => {
    const machine = setUp();
    return Effect.gen(function* () {
      const { venvs } = yield* machine.worker();
      yield* venvs.build(place, [], 0);
      machine.memory.plant({ [`${VENVS}/3.12.1-zzz-9/x`]: "", [`${VENVS}/backup/x`]: "" });
      const before = machine.lines.length;
      const fresh = yield* machine.worker();
      assert.strictEqual(Option.getOrThrow(yield* fresh.venvs.find(place)).number, 1);
      assert.lengthOf(machine.lines, before);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("of another image is neither found nor removed", () => {
    const machine = setUp();
    return Effect.gen(function* () {
      const old = yield* machine.worker({ WORKER_PYTHON: "python3.11" });
      const current = yield* machine.worker();
      const theirs = yield* old.venvs.build(place, [], 0);
      assert.deepStrictEqual(yield* current.venvs.find(place), Option.none());
      const ours = yield* current.venvs.build(place, [], 0);
      assert.strictEqual(ours.number, 1);
      assert.deepStrictEqual(yield* old.venvs.find(place), Option.some(theirs));
      assert.deepStrictEqual(yield* current.venvs.all(place), [ours]);
      assert.deepStrictEqual(yield* current.venvs.surplus(place), []);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect.each([
    ["uv venv", "uv venv", "uv venv failed. no space"],
    [
      "uv pip",
      "uv pip",
      `installing cloudpickle==${versions.cloudpickle}, aiohttp>=3.9, nope failed. no space`,
    ],
  ] as const)(
    "that can't be built is removed, with an error that shows the output of %s",
    ([, start, reason]) => {
      const machine = setUp({
        programs: (line, memory) => {
          if (!line.startsWith(start)) return undefined;
          memory.plant({ [`${VENVS}/half`]: null });
          return { exitCode: 2, output: "no space\n" };
        },
      });
      return Effect.gen(function* () {
        const { venvs } = yield* machine.worker();
        const error = yield* Effect.flip(venvs.build(place, ["nope"], 0));
        assert.strictEqual(error._tag, "VenvCreationFailed");
        assert.include(error.message, reason);
        assert.isEmpty(machine.memory.paths(/\.building-|\.venv$|\.venvs\/3/));
      }).pipe(Effect.scoped, machine.provide);
    },
  );

  it.effect("replaces a folder `.venv`, which is renamed and kept", () => {
    const machine = setUp({ planted: { [`${place.directory}/.venv/bin/python`]: "theirs" } });
    return Effect.gen(function* () {
      const { venvs } = yield* machine.worker();
      yield* venvs.build(place, [], 0);
      assert.isDefined(machine.linkAt(`${place.directory}/.venv`));
      const [kept = ""] = machine.memory.paths(/\.venv\.replaced-[^/]+\/bin\/python$/);
      assert.strictEqual(machine.memory.show()[kept], "theirs");
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("is built after unfinished builds and removals are removed", () => {
    const machine = setUp({
      planted: { [`${VENVS}/.building-x/bin/uv`]: "", [`${VENVS}/.removing-3.12.1-a-1/lib`]: null },
    });
    return Effect.gen(function* () {
      const { venvs } = yield* machine.worker();
      yield* venvs.build(place, [], 0);
      assert.isEmpty(machine.memory.paths(/\.building-|\.removing-/));
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("records whether an install is running, and the installed requirements", () => {
    const machine = setUp();
    return Effect.gen(function* () {
      const { venvs } = yield* machine.worker();
      const venv = yield* venvs.build(place, [], 0);
      assert.isFalse(yield* venvs.isInstalling(venv));
      yield* venvs.beginInstall(venv);
      assert.isTrue(yield* venvs.isInstalling(venv));
      assert.isTrue(yield* venvs.isComplete(venv));
      yield* venvs.endInstall(venv, ["numpy"]);
      assert.isFalse(yield* venvs.isInstalling(venv));
      assert.deepStrictEqual(yield* venvs.requirements(venv), ["numpy"]);
      machine.memory.plant({ [`${venv.prefix}/.worker-tetra-complete`]: "{not json" });
      assert.deepStrictEqual(yield* venvs.requirements(venv), []);
    }).pipe(Effect.scoped, machine.provide);
  });
});
