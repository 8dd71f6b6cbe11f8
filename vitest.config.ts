import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    maxWorkers: 2,
    // Loading the modules once instead of for each file halves the time.
    isolate: false,
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          testTimeout: 15_000,
          include: ["test/**/*.test.ts"],
          // The docs list every declared setting; unit tests declare more of them.
          exclude: ["test/{integration,faults,conformance,infra,docs}/**", "**/node_modules/**"],
        },
      },
      {
        extends: true,
        test: {
          name: "integration",
          include: ["test/{integration,faults,conformance,docs}/**/*.test.ts"],
          globalSetup: ["test/support/processes/globalSetup.ts"],
          // Real processes on a machine that others use too: one that was only late is tried once more.
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
