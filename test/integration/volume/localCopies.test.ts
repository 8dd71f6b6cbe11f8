import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Schema } from "effect";

import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { volumeWorker } from "../../support/moosefs/VolumeWorker.ts";
import { makeWheels } from "../../support/python/Wheels.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

/** The version of a package, the file that it was imported from, and its bytecode. */
const ORIGIN = `def f():
    import copied
    return [copied.VERSION, copied.__file__, copied.__cached__]`;

/** Changes a package for the imports of later processes. */
const EDIT = `def f():
    import copied
    with open(copied.__file__, "a") as file:
        file.write("VERSION = 'edited'")`;

/** The file of a package that is installed later. */
const LATER = `def f():
    import later
    return later.__file__`;

const decodePath = Schema.decodeUnknownEffect(
  Schema.Struct({ output: Schema.Struct({ json_result: Schema.String }) }),
);

const decodeOrigin = Schema.decodeUnknownEffect(
  Schema.Struct({
    output: Schema.Struct({
      json_result: Schema.Tuple([Schema.String, Schema.String, Schema.String]),
    }),
  }),
);

type Worker = Effect.Success<ReturnType<typeof volumeWorker>>;

/** A volume, and workers in fresh containers that copy its virtual environment. */
const scene = Effect.map(temporaryFolder, (volume) => {
  const variables = {
    WORKER_LOCAL_COPIES: "always",
    UV_FIND_LINKS: makeWheels(join(volume, "wheels"), {
      "copied-1.0": {},
      "copied-2.0": {},
      "later-1.0": {},
    }),
  };
  return {
    volume,
    variables,
    worker: volumeWorker(volume, variables),
    archives: () =>
      readdirSync(join(volume, ".package-archives"), { recursive: true, encoding: "utf8" })
        .filter((name) => name.includes(".tar"))
        .map((name) => join(volume, ".package-archives", name)),
  };
});

/** Waits until the packages on the volume are compiled and packed. */
const isPacked = ({ wrote }: Worker) => wrote(/Compiled the packages of/);

const originIn = ({ answer }: Worker, version = "1.0") =>
  answer(functionInput(ORIGIN, [], { dependencies: [`copied==${version}`] })).pipe(
    Effect.flatMap(decodeOrigin),
    Effect.map(
      ({
        output: {
          json_result: [found, file, bytecode],
        },
      }) => ({ found, file, bytecode }),
    ),
  );

/** A worker has built the virtual environment and packed it. */
const packedByFirst = (worker: ReturnType<typeof volumeWorker>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const first = yield* worker;
      const origin = yield* originIn(first);
      yield* isPacked(first);
      return origin;
    }),
  );

describe("a copy of the virtual environment on the volume", () => {
  it.live("has compiled packages, is used by jobs, and is removed when the worker ends", () =>
    Effect.gen(function* () {
      const { volume, worker } = yield* scene;
      const original = yield* packedByFirst(worker);
      assert.isTrue(original.file.startsWith(volume), "the first worker uses the volume");
      assert.isTrue(existsSync(original.bytecode), "its packages are compiled");
      const second = yield* worker;
      const copy = yield* originIn(second);
      assert.strictEqual(copy.found, "1.0");
      assert.isTrue(copy.file.startsWith(second.container.TMPDIR), copy.file);
      assert.isTrue(existsSync(copy.bytecode));
      yield* second.signal("SIGTERM");
      yield* second.ended;
      assert.deepStrictEqual(readdirSync(second.container.TMPDIR), []);
    }).pipe(Effect.scoped),
  );

  it.live("can be edited by a job without an effect on the volume or on other workers", () =>
    Effect.gen(function* () {
      const { worker } = yield* scene;
      const original = yield* packedByFirst(worker);
      const second = yield* worker;
      yield* second.answer(functionInput(EDIT));
      const { file } = yield* originIn(second);
      assert.include(readFileSync(file, "utf8"), "edited");
      assert.notInclude(readFileSync(original.file, "utf8"), "edited");
      const third = yield* originIn(yield* worker);
      assert.strictEqual(third.found, "1.0");
    }).pipe(Effect.scoped),
  );

  it.live("is not used if an archive is damaged, which is then packed again", () =>
    Effect.gen(function* () {
      const { volume, worker, archives } = yield* scene;
      yield* packedByFirst(worker);
      for (const archive of archives()) writeFileSync(archive, "damaged");
      const second = yield* worker;
      const { found, file } = yield* originIn(second);
      assert.strictEqual(found, "1.0");
      assert.isTrue(file.startsWith(volume), file);
      yield* second.wrote(/Could not copy the virtual environment .* was damaged/);
      yield* isPacked(second);
      const third = yield* worker;
      assert.isTrue((yield* originIn(third)).file.startsWith(third.container.TMPDIR));
    }).pipe(Effect.scoped),
  );

  it.live(
    "gets new packages before the volume does, and from archives if another worker has packed them",
    () =>
      Effect.gen(function* () {
        const { volume, worker, variables } = yield* scene;
        yield* packedByFirst(worker);
        const later = functionInput(LATER, [], { dependencies: ["later"] });
        const second = yield* worker;
        const { output } = yield* Effect.flatMap(second.answer(later), decodePath);
        assert.isTrue(output.json_result.startsWith(second.container.TMPDIR), output.json_result);
        // It is installed on the volume, and packed there.
        yield* isPacked(second);
        const third = yield* worker;
        yield* third.answer(later);
        assert.notInclude(third.stderr(), "Installing later", "it is in the copy");
        // Another endpoint, which has packed its packages without this one.
        const other = { ...variables, RUNPOD_ENDPOINT_ID: "other" };
        yield* packedByFirst(volumeWorker(volume, other));
        const fourth = yield* volumeWorker(volume, other);
        yield* fourth.answer(later);
        yield* fourth.wrote(/Installed later from archives/);
        const fifth = yield* volumeWorker(volume, {
          ...other,
          UV_INDEX_STRATEGY: "unsafe-best-match",
        });
        yield* fifth.answer(later);
        assert.notInclude(fifth.stderr(), "from archives", "its settings of uv differ");
      }).pipe(Effect.scoped),
  );

  it.live("is left for the virtual environment on the volume if a list changes packages", () =>
    Effect.gen(function* () {
      const { volume, worker } = yield* scene;
      yield* packedByFirst(worker);
      const second = yield* worker;
      assert.strictEqual((yield* originIn(second)).found, "1.0");
      const changed = yield* originIn(second, "2.0");
      assert.strictEqual(changed.found, "2.0");
      assert.isTrue(changed.file.startsWith(volume), changed.file);
      const back = yield* originIn(second, "1.0");
      assert.strictEqual(back.found, "1.0");
      assert.isTrue(back.file.startsWith(volume), back.file);
    }).pipe(Effect.scoped),
  );
});
