import { defineConfig } from "vitest/config";

import { TESTS_VARIABLE } from "./Targets.ts";

/** The tests of one target. Each mutant runs against them. */
export default defineConfig({
  test: {
    include: (process.env[TESTS_VARIABLE] ?? "").split(","),
    testTimeout: 60_000,
    isolate: false,
  },
});
