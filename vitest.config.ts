import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    // One more than the two cores of a small machine: integration tests wait for their processes a quarter of the time.
    maxWorkers: 3,
    // Modules are loaded once instead of for each file, which halves the run time.
    isolate: false,
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          testTimeout: 15_000,
          include: ["test/**/*.test.ts"],
          // Not docs: they list all declared settings, and unit tests declare further ones.
          exclude: ["test/{integration,faults,conformance,infra,docs}/**", "**/node_modules/**"],
        },
      },
      {
        extends: true,
        test: {
          name: "integration",
          include: ["test/{integration,faults,conformance,docs}/**/*.test.ts"],
          globalSetup: ["test/support/processes/globalSetup.ts"],
          // Real processes can be late on a busy machine, so a failed test is retried once.
          retry: 1,
          testTimeout: 120_000,
          hookTimeout: 180_000,
        },
      },
      {
        extends: true,
        test: {
          name: "infra",
          include: ["test/infra/**/*.test.ts"],
          globalSetup: ["test/support/processes/globalSetup.ts"],
          testTimeout: 900_000,
          hookTimeout: 900_000,
        },
      },
    ],
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      reporter: ["text", "html", "cobertura"],
      thresholds: { lines: 85 },
    },
  },
});
