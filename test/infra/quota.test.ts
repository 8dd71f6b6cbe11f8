import { existsSync, lstatSync, mkdirSync, readdirSync, truncateSync } from "node:fs";
import { basename, dirname, join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { ByteSize, Effect, Predicate } from "effect";

import { hasMooseFs, mooseFs, skippedWithoutMooseFs } from "../support/moosefs/MooseFs.ts";
import { volumeWorker } from "../support/moosefs/VolumeWorker.ts";
import { functionInput } from "../support/values/JobInputs.ts";

type Worker = Effect.Success<ReturnType<typeof volumeWorker>>;

const needsNothing = functionInput("import sys\ndef f(): return sys.prefix");

/** Needs about 30 MB. */
const needsSympy = functionInput("import sys, sympy\ndef f(): return sys.prefix", [], {
  dependencies: ["sympy==1.13.3"],
});

/** Runs a job that returns the prefix of its virtual environment. */
const prefixOf = Effect.fnUntraced(function* ({ answer }: Worker, input: unknown) {
  const body = yield* answer(input);
  const { output } = body;
  assert.deepInclude(output, { success: true }, JSON.stringify(body));
  return Predicate.hasProperty(output, "json_result") ? String(output.json_result) : "";
});

const warnings = ({ logs }: Worker) =>
  logs().flatMap(({ level, message }) => (/warn|error/i.test(level) ? [message] : []));

/** All files of a folder with their sizes, without bytecode. Links are not followed. */
const filesOf = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === "__pycache__" ? [] : filesOf(path);
    return entry.isFile() ? [`${path} ${lstatSync(path).size}`] : [];
  });

/** Shows only the differences. */
const assertSame = (actual: ReadonlyArray<string>, expected: ReadonlyArray<string>) => {
  const added = actual.filter((line) => !expected.includes(line));
  const missing = expected.filter((line) => !actual.includes(line));
  assert.deepStrictEqual({ added, missing }, { added: [], missing: [] });
};

/** MooseFS creates a file only if so much of the quota is left, which is the size of a chunk. */
const NEEDED_FOR_FILE = ByteSize.mebibytes(64);

/** Unit of allocation of MooseFS, and what it adds for each chunk. */
const BLOCK = 65_536;
const CHUNK_HEADER = 8192;

/** What a folder uses of its quota. */
const usedBy = (folder: string) =>
  filesOf(folder)
    .map((line) => Number(line.split(" ").at(-1)))
    .reduce(
      (sum, size) => sum + (size === 0 ? 0 : Math.ceil(size / BLOCK) * BLOCK + CHUNK_HEADER),
      0,
    );

/** A folder as a volume on two hosts, with a quota. */
const limitedVolume = Effect.gen(function* () {
  const { a, b, setQuota, removeQuota } = yield* mooseFs();
  const [first, second] = [join(a.path, "volume"), join(b.path, "volume")];
  mkdirSync(first);
  return {
    first,
    second,
    /** Leaves so much space for new files; none: not even the smallest file fits. */
    leave: (space: ByteSize.ByteSize) =>
      Effect.suspend(() => {
        const limit = BigInt(usedBy(first)) + BigInt(space) + NEEDED_FOR_FILE;
        return setQuota(first, ByteSize.bytes(limit), "size");
      }),
    lift: removeQuota(first),
  };
});

const venvsOn = (volume: string) => join(volume, "runtimes", "tests", ".venvs");

const stop = ({ signal, ended }: Worker) => Effect.andThen(signal("SIGTERM"), ended);

/** Runs a job on a new worker, which then ends. */
const onNewWorker = Effect.fnUntraced(function* (volume: string, input: unknown) {
  const worker = yield* volumeWorker(volume);
  const prefix = yield* prefixOf(worker, input);
  yield* stop(worker);
  return { prefix, warnings: warnings(worker), container: worker.container };
});

describe.skipIf(!hasMooseFs)(`a quota on MooseFS${skippedWithoutMooseFs}`, () => {
  it.live(
    "that is exceeded before the start: the virtual environment is used, and extended later",
    () =>
      Effect.gen(function* () {
        const { first, second, leave, lift } = yield* limitedVolume;
        const { prefix } = yield* onNewWorker(first, needsNothing);
        const before = filesOf(prefix);
        yield* leave(ByteSize.zero);

        const worker = yield* volumeWorker(second);
        const name = basename(prefix);
        assert.strictEqual(yield* prefixOf(worker, needsNothing), join(venvsOn(second), name));
        assert.lengthOf(warnings(worker), 1, warnings(worker).join("\n"));
        const own = yield* prefixOf(worker, needsSympy);
        assert.include(own, worker.container.WORKER_WORKSPACE_PATH);
        assert.lengthOf(warnings(worker), 2, warnings(worker).join("\n"));
        assert.include(warnings(worker).at(-1), "quota");
        yield* stop(worker);
        assertSame(filesOf(prefix), before);

        yield* lift;
        const after = yield* onNewWorker(second, needsSympy);
        assert.strictEqual(after.prefix, join(venvsOn(second), name));
        assert.isEmpty(after.warnings);
      }).pipe(Effect.scoped),
  );

  it.live("that is exceeded by an install: it is undone and repeated on the container's disk", () =>
    Effect.gen(function* () {
      const { first, second, leave, lift } = yield* limitedVolume;
      const worker = yield* volumeWorker(first);
      const prefix = yield* prefixOf(worker, needsNothing);
      const before = filesOf(prefix);
      yield* leave(ByteSize.megabytes(40));

      const own = yield* prefixOf(worker, needsSympy);
      assert.include(own, worker.container.WORKER_WORKSPACE_PATH);
      assertSame(filesOf(prefix), before);
      const [warning = "", ...others] = warnings(worker);
      assert.isEmpty(others);
      assert.include(warning, "the volume's quota is exceeded (EDQUOT)");
      assert.include(warning, join(first, ".uv-cache"));
      yield* stop(worker);

      yield* lift;
      const after = yield* onNewWorker(second, needsSympy);
      assert.strictEqual(after.prefix, join(venvsOn(second), basename(prefix)));
      assert.isEmpty(after.warnings);
    }).pipe(Effect.scoped),
  );

  it.live("that is exceeded by the first build: it leaves nothing, and is repeated later", () =>
    Effect.gen(function* () {
      const { first, second, leave, lift } = yield* limitedVolume;
      yield* leave(ByteSize.megabytes(3));
      const { prefix, container, warnings: logged } = yield* onNewWorker(first, needsNothing);
      assert.include(prefix, container.WORKER_WORKSPACE_PATH);
      assert.lengthOf(logged, 1, logged.join("\n"));
      assert.include(logged[0], "the volume's quota is exceeded (EDQUOT)");
      assert.isEmpty(filesOf(venvsOn(first)).filter((line) => !line.includes(".lock")));

      yield* lift;
      const after = yield* onNewWorker(second, needsNothing);
      assert.strictEqual(dirname(after.prefix), venvsOn(second));
      assert.isEmpty(after.warnings);
    }).pipe(Effect.scoped),
  );

  it.live("that only uv's cache exceeds: the install succeeds without it", () =>
    Effect.gen(function* () {
      const { first, leave } = yield* limitedVolume;
      const worker = yield* volumeWorker(first);
      const prefix = yield* prefixOf(worker, needsNothing);
      // Enough for the packages (about 33 MB), but not for a copy in the cache.
      yield* leave(ByteSize.megabytes(140));
      assert.strictEqual(yield* prefixOf(worker, needsSympy), prefix);
      assert.isEmpty(warnings(worker));
    }).pipe(Effect.scoped),
  );

  it.live("does not matter any more for archives in uv's cache that it has damaged", () =>
    Effect.gen(function* () {
      const { first, second } = yield* limitedVolume;
      const one = yield* volumeWorker(first, { RUNPOD_ENDPOINT_ID: "one" });
      yield* prefixOf(one, needsSympy);
      const archive = join(first, ".uv-cache", "archive-v0");
      const damaged = readdirSync(archive).find((name) => existsSync(join(archive, name, "sympy")));
      truncateSync(join(archive, damaged ?? "", "sympy", "__init__.py"));
      const other = yield* volumeWorker(second, { RUNPOD_ENDPOINT_ID: "other" });
      assert.include(yield* prefixOf(other, needsSympy), second);
      assert.isFalse(existsSync(join(archive, damaged ?? "")));
      assert.isEmpty(warnings(other));
    }).pipe(Effect.scoped),
  );
});
