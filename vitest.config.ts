import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          // Loading the modules once instead of for each file halves the time of these tests. The README's are not
          // among them: they list every setting that was declared, those of other tests too.
          isolate: false,
          testTimeout: 15_000,
          include: ["test/**/*.test.ts"],
          exclude: ["test/{integration,faults,conformance,infra,readme}/**", "**/node_modules/**"],
        },
      },
      {
        extends: true,
        test: {
          name: "integration",
          include: ["test/{integration,faults,conformance,readme}/**/*.test.ts"],
          globalSetup: ["test/support/globalSetup.ts"],
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
