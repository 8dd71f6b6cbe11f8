import { defineConfig } from "vitest/config";

import { TESTS_VARIABLE } from "./Targets.ts";

/** The tests of one target, in one project: mutants are run one after the other, each against these. */
export default defineConfig({
  test: {
    include: (process.env[TESTS_VARIABLE] ?? "").split(","),
    testTimeout: 60_000,
    isolate: false,
  },
});
