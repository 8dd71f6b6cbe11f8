/** The environment variable with the names of the tests for `vitest.config.ts`. */
export const TESTS_VARIABLE = "MUTATION_TESTS";

/** A safety-critical module, and the tests that must detect its mutants. */
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
  {
    module: "src/dependencies/apt/Apt.ts",
    tests: ["test/dependencies/apt/Apt.test.ts", "test/dependencies/SystemPackages.test.ts"],
  },
  ...["AptGet", "AptOutput"].map((name) => ({
    module: `src/dependencies/apt/${name}.ts`,
    tests: ["test/dependencies/apt/Apt.test.ts", "test/dependencies/SystemPackages.test.ts"],
  })),
  { module: "src/dependencies/apt/AptCache.ts", tests: ["test/dependencies/apt/AptCache.test.ts"] },
  {
    module: "src/dependencies/SystemPackages.ts",
    tests: ["test/dependencies/SystemPackages.test.ts"],
  },
  {
    module: "src/cli/process/TelemetryMasking.ts",
    tests: ["test/cli/process/TelemetryMasking.test.ts"],
  },
  { module: "src/settings/Excerpt.ts", tests: ["test/settings/Excerpt.test.ts"] },
  { module: "src/platform/LiveLines.ts", tests: ["test/platform/LiveLines.test.ts"] },
  { module: "src/workspace/JobEnvironment.ts", tests: ["test/workspace/JobEnvironment.test.ts"] },
  { module: "src/settings/Environment.ts", tests: ["test/settings/Environment.test.ts"] },
  { module: "src/settings/Redactor.ts", tests: ["test/settings/Redactor.test.ts"] },
  { module: "src/settings/Credentials.ts", tests: ["test/settings/Credentials.test.ts"] },
  {
    module: "src/settings/Secrets.ts",
    tests: [
      "test/settings/Secrets.test.ts",
      "test/settings/Redactor.test.ts",
      "test/settings/Environment.test.ts",
    ],
  },
  {
    module: "src/endpoint/http/HttpGuard.ts",
    tests: ["test/endpoint/http/HttpGuard.test.ts"],
  },
  { module: "src/endpoint/http/Loopback.ts", tests: ["test/endpoint/http/Loopback.test.ts"] },
  { module: "src/endpoint/Drain.ts", tests: ["test/endpoint/Drain.test.ts"] },
  { module: "src/domain/JsonLimits.ts", tests: ["test/domain/JsonLimits.test.ts"] },
  { module: "src/domain/JsonScanner.ts", tests: ["test/domain/JsonScanner.test.ts"] },
  {
    module: "src/platform/files/safe/SafePaths.ts",
    tests: ["test/platform/files/safe/SafePaths.test.ts"],
  },
  {
    module: "src/platform/files/SafeFileSystem.ts",
    tests: ["test/platform/files/SafeFileSystem.test.ts"],
  },
  {
    module: "src/platform/programs/ProgramPath.ts",
    tests: ["test/platform/programs/ProgramPath.test.ts"],
  },
  { module: "src/platform/locks/FileLock.ts", tests: ["test/platform/locks/FileLock.test.ts"] },
  { module: "src/venv/leases/Leases.ts", tests: ["test/venv/leases/Leases.test.ts"] },
  { module: "src/platform/files/DiskFault.ts", tests: ["test/platform/files/DiskFault.test.ts"] },
  {
    module: "src/platform/ErrorCode.ts",
    tests: ["test/platform/ErrorCode.test.ts", "test/platform/files/DiskFault.test.ts"],
  },
  { module: "src/platform/files/AtomicFile.ts", tests: ["test/platform/files/AtomicFile.test.ts"] },
  {
    module: "src/queue/reports/Delivery.ts",
    tests: ["test/queue/reports/Delivery.test.ts", "test/queue/Jitter.test.ts"],
  },
  {
    module: "src/queue/ActiveJobs.ts",
    tests: ["test/queue/ActiveJobs.test.ts"],
  },
  {
    module: "src/queue/reports/ResultSender.ts",
    tests: ["test/queue/reports/Delivery.test.ts", "test/queue/Jitter.test.ts"],
  },
  { module: "src/queue/reports/ResultStore.ts", tests: ["test/queue/reports/ResultStore.test.ts"] },
  {
    module: "src/runner/process/Frames.ts",
    tests: ["test/runner/process/Frames.test.ts", "test/runner/GoldenMessages.test.ts"],
  },
  { module: "src/cli/process/Shutdown.ts", tests: ["test/cli/process/Shutdown.test.ts"] },
  { module: "src/cli/results/TerminalText.ts", tests: ["test/cli/results/TerminalText.test.ts"] },
];

/** Python, tested by pytest. */
export const PYTHON: ReadonlyArray<Target> = [
  {
    module: "src/python/tetra_runner/process.py",
    tests: ["test/python/tetra_runner/test_process.py"],
  },
  {
    module: "src/python/tetra_runner/calls/cancel.py",
    tests: ["test/python/tetra_runner/calls/test_cancel.py"],
  },
];

/** The fraction of mutants that the tests must detect in each module. */
export const LEAST_KILLED = 0.85;
