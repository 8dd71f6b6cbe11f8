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
  {
    module: "src/dependencies/Apt.ts",
    tests: ["test/dependencies/Apt.test.ts", "test/dependencies/SystemPackages.test.ts"],
  },
  { module: "src/dependencies/AptCache.ts", tests: ["test/dependencies/AptCache.test.ts"] },
  {
    module: "src/dependencies/SystemPackages.ts",
    tests: ["test/dependencies/SystemPackages.test.ts"],
  },
  { module: "src/cli/TelemetryMasking.ts", tests: ["test/cli/TelemetryMasking.test.ts"] },
  { module: "src/settings/Excerpt.ts", tests: ["test/settings/Excerpt.test.ts"] },
  { module: "src/workspace/LiveLines.ts", tests: ["test/workspace/LiveLines.test.ts"] },
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
    module: "src/endpoint/HttpGuard.ts",
    tests: ["test/endpoint/HttpGuard.test.ts"],
  },
  { module: "src/endpoint/Loopback.ts", tests: ["test/endpoint/Loopback.test.ts"] },
  { module: "src/endpoint/Drain.ts", tests: ["test/endpoint/Drain.test.ts"] },
  { module: "src/protocol/JsonLimits.ts", tests: ["test/protocol/JsonLimits.test.ts"] },
  { module: "src/protocol/JsonScanner.ts", tests: ["test/protocol/JsonScanner.test.ts"] },
  { module: "src/workspace/SafePaths.ts", tests: ["test/workspace/SafePaths.test.ts"] },
  {
    module: "src/workspace/SafeFileSystem.ts",
    tests: ["test/workspace/SafeFileSystem.test.ts"],
  },
  { module: "src/workspace/ProgramPath.ts", tests: ["test/workspace/ProgramPath.test.ts"] },
  { module: "src/workspace/FileLock.ts", tests: ["test/workspace/FileLock.test.ts"] },
  { module: "src/workspace/WorkspaceLock.ts", tests: ["test/workspace/WorkspaceLock.test.ts"] },
  { module: "src/workspace/DiskFault.ts", tests: ["test/workspace/DiskFault.test.ts"] },
  {
    module: "src/runpod/Delivery.ts",
    tests: ["test/runpod/Delivery.test.ts", "test/runpod/Jitter.test.ts"],
  },
  {
    module: "src/runpod/JobsAtWork.ts",
    tests: ["test/runpod/JobsAtWork.test.ts"],
  },
  { module: "src/runpod/ResultStore.ts", tests: ["test/runpod/ResultStore.test.ts"] },
  { module: "src/execution/RunnerProtocol.ts", tests: ["test/execution/RunnerProtocol.test.ts"] },
  { module: "src/cli/Shutdown.ts", tests: ["test/cli/Shutdown.test.ts"] },
  { module: "src/cli/TerminalText.ts", tests: ["test/cli/TerminalText.test.ts"] },
];

/** Python, whose tests are programs of Python. */
export const PYTHON: ReadonlyArray<Target> = [
  {
    module: "src/python/runner_process.py",
    tests: ["test/python/test_runner_process.py"],
  },
];

/** The share of mutants that the tests must notice, in each module. */
export const LEAST_KILLED = 0.85;
