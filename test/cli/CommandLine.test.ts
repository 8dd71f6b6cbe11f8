import { NodeHttpClient, NodeServices } from "@effect/platform-node";
import { assert, describe, expect, it } from "@effect/vitest";
import { Effect, Exit, Layer, Runtime } from "effect";
import { TestConsole } from "effect/testing";

import { commandLine } from "../../src/cli/CommandLine.ts";
import { Shutdown } from "../../src/cli/Shutdown.ts";
import { Environment } from "../../src/settings/Environment.ts";

const join = (lines: ReadonlyArray<unknown>) => lines.map(String).join("\n");

/** What a person sees, and the exit code. */
const typed = Effect.fnUntraced(
  function* (line: string) {
    const exit = yield* Effect.exit(commandLine(line.split(" ").filter(Boolean)));
    let code = 0;
    Runtime.defaultTeardown(exit, (status) => {
      code = status;
    });
    assert.isTrue(Exit.isSuccess(exit) || code > 0);
    return {
      code,
      stdout: join(yield* TestConsole.logLines),
      stderr: join(yield* TestConsole.errorLines),
    };
  },
  Effect.provide(
    Layer.mergeAll(
      NodeServices.layer,
      NodeHttpClient.layerUndici,
      Layer.succeed(Shutdown, Shutdown.make()),
      Environment.layerOf({ PATH: "/usr/bin", WORKER_WORKSPACE_PATH: "/dev/null/nowhere" }),
    ),
  ),
);

describe("the command line", () => {
  it.effect.each(["", "start", "run", "serve", "invoke", "doctor", "prune"])(
    "explains itself: %s --help",
    (command) =>
      Effect.gen(function* () {
        const { code, stdout, stderr } = yield* typed(`${command} --help`);
        assert.strictEqual(code, 0);
        assert.strictEqual(stderr, "");
        assert.include(stdout, "EXAMPLES");
        expect(stdout).toMatchSnapshot("help");
      }),
  );

  it.effect.each([
    "srve",
    "serve --prot 80",
    "serve --port 99999",
    "serve --port http",
    "serve --concurrency 0",
    "start --rp_log_level LOUD",
    "invoke endpoint",
    "run",
    "prune --days -1",
  ])("says what is wrong: %s", (line) =>
    Effect.gen(function* () {
      const { code, stdout, stderr } = yield* typed(line);
      assert.strictEqual(code, 2);
      assert.strictEqual(stdout, "");
      assert.notMatch(stderr, /\n\s+at /);
      expect(stderr).toMatchSnapshot("message");
    }),
  );

  it.effect.each(["bash", "zsh", "fish", "powershell"])("completes itself in %s", (shell) =>
    Effect.gen(function* () {
      const { code, stdout } = yield* typed(`--completions ${shell}`);
      assert.strictEqual(code, 0);
      for (const word of ["invoke", "doctor", "rp_serve_api", "dry-run"]) {
        assert.include(stdout, word);
      }
    }),
  );
});
