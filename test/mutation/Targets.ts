/** Where the runner leaves the names of the tests for `vitest.config.ts`. */
export const TESTS_VARIABLE = "MUTATION_TESTS";

/** A module that guards something, and the tests that must notice when it does not. */
export interface Target {
  readonly module: string;
  readonly tests: ReadonlyArray<string>;
}

/** TypeScript whose tests need no real Python: every change of its code is tried. */
export const TYPESCRIPT: ReadonlyArray<Target> = [
  {
    module: "src/dependencies/Requirement.ts",
    tests: ["test/dependencies/Requirement.test.ts"],
  },
];

/** Python, tested through the real worker. */
export const PYTHON: ReadonlyArray<Target> = [
  {
    module: "src/python/runner_process.py",
    tests: ["test/faults/restored.test.ts"],
  },
];

/** The share of mutants that the tests must notice, in each module. */
export const LEAST_KILLED = 0.85;
