import { assert, describe, it } from "@effect/vitest";

import { PythonInstallFailed } from "../../../src/dependencies/pip/PythonInstallFailed.ts";

describe("PythonInstallFailed", () => {
  /** Messages of uv 0.13. */
  it.each([
    [
      "unknown",
      "  × No solution found when resolving dependencies:\n  ╰─▶ Because nope was not found in the package registry and you require nope, we can conclude that your requirements are unsatisfiable.",
    ],
    [
      "unknown",
      "Because there is no version of six==99 and you require six==99, we can conclude that your requirements are unsatisfiable.",
    ],
    [
      "conflicting",
      "Because you require six==1.15.0 and six==1.16.0, we can conclude that your requirements are unsatisfiable.",
    ],
    [
      "unreachable",
      "error: Request failed after 3 retries\n  Caused by: Failed to fetch: `http://localhost:1/six/`\n  Caused by: error sending request for url",
    ],
    [
      "unreachable",
      "  × Failed to download `six @ https://localhost/six.whl`\n  ├─▶ dns error: failed to lookup address information",
    ],
    ["unbuildable", "  × Failed to build `broken==1.0`\n  ├─▶ The build backend returned an error"],
    ["full", "error: Failed to install: x.whl\n  Caused by: No space left on device (os error 28)"],
    ["full", "  Caused by: Disk quota exceeded (os error 122)"],
    ["other", "error: Something that nobody has seen"],
  ] as const)("has the reason %s for the output %j, and contains the output", (reason, output) => {
    const error = PythonInstallFailed.from(["six"], output);
    assert.strictEqual(error.reason, reason);
    assert.include(error.message, output.trim().split("\n").at(-1) ?? "");
  });

  it("contains only the last lines of a long output", () => {
    const output = Array.from({ length: 100 }, (_, line) => `line ${line}`).join("\n");
    const { message } = PythonInstallFailed.from(["six"], output);
    assert.include(message, "line 99");
    assert.notInclude(message, "line 69\n");
  });

  it("is short and has the reason for a very long output and list of requirements", () => {
    const printed = `  × Failed to build \`broken==1.0\`\n${"only ".repeat(4_000_000)}\nat its end`;
    const started = performance.now();
    const many = Array.from({ length: 512 }, (_, number) => `package-with-a-long-name-${number}`);
    const error = PythonInstallFailed.from(many, printed);
    assert.strictEqual(error.reason, "unbuildable");
    assert.isBelow(error.message.length, 12_000);
    assert.include(error.message, "package-with-a-long-name-0, ");
    assert.match(error.message, / and \d+ more could not be installed/);
    assert.match(error.message, /at its end$/);
    const unknown = PythonInstallFailed.from(["six"], "only ".repeat(4_000_000));
    assert.strictEqual(unknown.reason, "other");
    assert.isBelow(performance.now() - started, 2000);
  });
});
