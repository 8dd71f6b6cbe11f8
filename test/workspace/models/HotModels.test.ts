import { assert, describe, it } from "@effect/vitest";
import { Duration, Effect } from "effect";
import { TestClock } from "effect/testing";

import { readHotModels, recordHotModels } from "../../../src/workspace/models/HotModels.ts";
import { memoryFileSystem } from "../../support/files/MemoryFileSystem.ts";

const FILE = "/volume/.hf-cache/hot-models/endpoint.json";

const namesOf = (models: ReadonlyArray<{ readonly name: string }>) =>
  models.map(({ name }) => name);

describe("hot models", () => {
  it.effect("are recorded with their revision, the last used ones first", () =>
    Effect.gen(function* () {
      const { files } = memoryFileSystem();
      yield* recordHotModels(files, FILE, ["models--a--one@abc", "datasets--a--two@def"]);
      yield* TestClock.adjust(Duration.days(2));
      yield* recordHotModels(files, FILE, ["datasets--a--two@def"]);
      assert.deepStrictEqual(yield* readHotModels(files, FILE), [
        { name: "datasets--a--two", revision: "def", usedAt: Duration.toMillis("2 days") },
        { name: "models--a--one", revision: "abc", usedAt: 0 },
      ]);
    }),
  );

  it.effect("are not written again on the same day", () =>
    Effect.gen(function* () {
      const { files } = memoryFileSystem();
      yield* recordHotModels(files, FILE, ["models--a--one@abc"]);
      yield* files.writeFileString(FILE, (yield* files.readFileString(FILE)).concat("\n"));
      const before = yield* files.readFileString(FILE);
      yield* TestClock.adjust(Duration.hours(23));
      yield* recordHotModels(files, FILE, ["models--a--one@abc"]);
      assert.strictEqual(yield* files.readFileString(FILE), before);
    }),
  );

  it.effect("are at most 16, and used in the last 30 days", () =>
    Effect.gen(function* () {
      const { files } = memoryFileSystem();
      yield* recordHotModels(files, FILE, ["models--a--old@abc"]);
      yield* TestClock.adjust(Duration.days(31));
      assert.deepStrictEqual(yield* readHotModels(files, FILE), []);
      const many = Array.from({ length: 20 }, (_, number) => `models--a--${number}@abc`);
      yield* recordHotModels(files, FILE, many);
      assert.lengthOf(yield* readHotModels(files, FILE), 16);
    }),
  );

  it.effect("never have names that lead to other folders", () =>
    Effect.gen(function* () {
      const names = ["models--a--one@..", "../x@abc", "models--a--one", "a@b@c"];
      const { files, show } = memoryFileSystem();
      yield* recordHotModels(files, FILE, names);
      assert.deepStrictEqual(show(), {});
      const model = { name: "models--a/../../x", revision: "abc", usedAt: 0 };
      yield* files.makeDirectory("/volume/.hf-cache/hot-models", { recursive: true });
      yield* files.writeFileString(FILE, JSON.stringify({ models: [model] }));
      assert.deepStrictEqual(yield* readHotModels(files, FILE), []);
    }),
  );

  it.effect("are replaced if the file is damaged", () =>
    Effect.gen(function* () {
      const { files } = memoryFileSystem({ [FILE]: "{" });
      assert.deepStrictEqual(yield* readHotModels(files, FILE), []);
      yield* recordHotModels(files, FILE, ["models--a--one@abc"]);
      assert.deepStrictEqual(namesOf(yield* readHotModels(files, FILE)), ["models--a--one"]);
    }),
  );
});
