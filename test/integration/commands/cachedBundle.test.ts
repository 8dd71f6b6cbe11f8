import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { stdoutOf } from "../../support/processes/ChildProcess.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** The program of the checkout: prints whether it runs from a bundle, and a word. */
const programOf = (word: string) =>
  `console.log(import.meta.url.endsWith("main.ts") ? "sources" : "bundle", ${JSON.stringify(word)} as string);`;

const CONFIG = `export default {
  input: { "worker-tetra": "src/main.ts" },
  platform: "node",
  output: { dir: "dist/lib", entryFileNames: "[name].js" },
};`;

/** A checkout with a small program. */
const checkout = Effect.gen(function* () {
  const folder = yield* temporaryFolder;
  mkdirSync(join(folder, "src/python"), { recursive: true });
  mkdirSync(join(folder, "node_modules"));
  for (const name of ["bin.mjs", "preflight.mjs", "start.mjs", "cachedBundle.mjs"]) {
    cpSync(join(ROOT, "src", name), join(folder, "src", name));
  }
  symlinkSync(join(ROOT, "node_modules/rolldown"), join(folder, "node_modules/rolldown"));
  writeFileSync(join(folder, ".rolldown.mjs"), CONFIG);
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  const main = join(folder, "src/main.ts");
  writeFileSync(main, programOf("first"));
  return {
    folder,
    main,
    cache: join(folder, "node_modules/.cache/worker-tetra"),
    start: (variables: Readonly<Record<string, string>> = {}) =>
      Effect.map(
        stdoutOf(process.execPath, ["src/start.mjs"], {
          directory: folder,
          environment: { ...process.env, NODE_V8_COVERAGE: undefined, ...variables },
        }),
        (output) => output.trim(),
      ),
  };
});

describe("npm start", () => {
  it.live(
    "runs a cached bundle, and builds another one after an edit that keeps time and size",
    () =>
      Effect.gen(function* () {
        const { main, cache, start } = yield* checkout;
        assert.strictEqual(yield* start(), "bundle first");
        assert.strictEqual(yield* start(), "bundle first");
        assert.lengthOf(readdirSync(cache), 1);
        const past = new Date("2026-01-01");
        utimesSync(main, past, past);
        assert.strictEqual(yield* start(), "bundle first");
        writeFileSync(main, programOf("other"));
        utimesSync(main, past, past);
        assert.strictEqual(yield* start(), "bundle other");
      }).pipe(Effect.scoped),
  );

  it.live("builds one complete bundle if several processes start at once", () =>
    Effect.gen(function* () {
      const { cache, start } = yield* checkout;
      const outputs = yield* Effect.all([start(), start(), start()], { concurrency: "unbounded" });
      assert.deepStrictEqual(outputs, ["bundle first", "bundle first", "bundle first"]);
      assert.lengthOf(readdirSync(cache), 1);
    }).pipe(Effect.scoped),
  );

  it.live("deletes bundles of earlier sources after a day", () =>
    Effect.gen(function* () {
      const { cache, start } = yield* checkout;
      for (const [name, age] of [
        ["old", 25],
        ["recent", 23],
      ] as const) {
        mkdirSync(join(cache, name), { recursive: true });
        const time = new Date(Date.now() - age * 60 * 60 * 1000);
        utimesSync(join(cache, name), time, time);
      }
      yield* start();
      assert.isFalse(existsSync(join(cache, "old")));
      assert.isTrue(existsSync(join(cache, "recent")));
    }).pipe(Effect.scoped),
  );

  it.live("runs the sources without rolldown", () =>
    Effect.gen(function* () {
      const { folder, cache, start } = yield* checkout;
      rmSync(join(folder, "node_modules/rolldown"));
      assert.strictEqual(yield* start(), "sources first");
      assert.isFalse(existsSync(cache));
    }).pipe(Effect.scoped),
  );

  it.live("runs the sources if the cache can't be written", () =>
    Effect.gen(function* () {
      const { folder, start } = yield* checkout;
      writeFileSync(join(folder, "node_modules/.cache"), "not a folder");
      assert.strictEqual(yield* start(), "sources first");
    }).pipe(Effect.scoped),
  );

  it.live("runs the sources if they can't be bundled", () =>
    Effect.gen(function* () {
      const { folder, cache, start } = yield* checkout;
      writeFileSync(join(folder, ".rolldown.mjs"), "throw new Error('broken');");
      assert.strictEqual(yield* start(), "sources first");
      assert.isEmpty(readdirSync(cache));
    }).pipe(Effect.scoped),
  );

  it.live("runs the sources to measure their coverage", () =>
    Effect.gen(function* () {
      const { folder, start } = yield* checkout;
      assert.strictEqual(
        yield* start({ NODE_V8_COVERAGE: join(folder, "coverage") }),
        "sources first",
      );
    }).pipe(Effect.scoped),
  );
});
