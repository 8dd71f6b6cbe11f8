import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { Schema } from "effect";

import type { Mutant } from "./Mutant.ts";
import { type Target, TESTS_VARIABLE } from "./Targets.ts";

const installed = (path: string) =>
  fileURLToPath(new URL(`./node_modules/@stryker-mutator/${path}`, import.meta.url));

const decodeReport = Schema.decodeUnknownSync(
  Schema.fromJsonString(
    Schema.Struct({
      files: Schema.Record(
        Schema.String,
        Schema.Struct({
          mutants: Schema.Array(
            Schema.Struct({
              mutatorName: Schema.String,
              replacement: Schema.optionalKey(Schema.String),
              status: Schema.String,
              location: Schema.Struct({ start: Schema.Struct({ line: Schema.Int }) }),
            }),
          ),
        }),
      ),
    }),
  ),
);

const settings = (target: Target, report: string) => ({
  testRunner: "vitest",
  vitest: { configFile: "test/mutation/vitest.config.ts" },
  plugins: [`file://${installed("vitest-runner/dist/src/index.js")}`],
  mutate: [target.module],
  // Tests should not assert the exact wording of texts.
  mutator: { excludedMutations: ["StringLiteral"] },
  coverageAnalysis: "perTest",
  // Evaluated when the module is loaded: trying those would take a new process for each.
  ignoreStatic: true,
  // Stryker would change it with TypeScript's old interface, which TypeScript 7 does not have.
  tsconfigFile: "none.json",
  concurrency: 2,
  reporters: ["json"],
  jsonReporter: { fileName: report },
  tempDirName: join(tmpdir(), "worker-tetra-stryker"),
  checkers: [],
});

/** Tries every mutant of a module with StrykerJS. Throws if the tests fail without a change. */
export const mutantsOf = (target: Target): ReadonlyArray<Mutant> => {
  const folder = mkdtempSync(join(tmpdir(), "worker-tetra-mutation-"));
  try {
    const report = join(folder, "report.json");
    const config = join(folder, "stryker.json");
    writeFileSync(config, JSON.stringify(settings(target, report)));
    const { status } = spawnSync(
      process.execPath,
      [installed("core/bin/stryker.js"), "run", config],
      {
        stdio: ["ignore", "inherit", "inherit"],
        env: { ...process.env, [TESTS_VARIABLE]: target.tests.join(",") },
      },
    );
    if (status !== 0) throw new Error(`Stryker failed for ${target.module}`);
    const lines = readFileSync(target.module, "utf8").split("\n");
    return Object.values(decodeReport(readFileSync(report, "utf8")).files).flatMap(({ mutants }) =>
      mutants
        .filter(({ status: outcome }) => outcome !== "Ignored" && outcome !== "CompileError")
        .map(({ mutatorName, replacement = "", status: outcome, location }) => ({
          module: target.module,
          line: (lines[location.start.line - 1] ?? "").trim(),
          change: `${mutatorName}: ${replacement}`,
          isKilled: outcome === "Killed" || outcome === "Timeout" || outcome === "RuntimeError",
        })),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};
