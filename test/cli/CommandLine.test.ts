import { assert, describe, expect, it } from "@effect/vitest";
import { Effect } from "effect";

import { runCommandLine } from "../support/processes/CommandLineRun.ts";

const VARIABLES = { PATH: "/usr/bin", WORKER_WORKSPACE_PATH: "/dev/null/nowhere" };

const runLine = (line: string) => runCommandLine(line.split(" ").filter(Boolean), VARIABLES);

describe("the command line", () => {
  it.live.each(["", "start", "run", "serve", "invoke", "doctor", "prune"])(
    "shows help for %s --help",
    (command) =>
      Effect.gen(function* () {
        const { code, stdout, stderr } = yield* runLine(`${command} --help`);
        assert.strictEqual(code, 0);
        assert.strictEqual(stderr, "");
        assert.include(stdout, "EXAMPLES");
        expect(stdout).toMatchSnapshot("help");
      }),
  );

  it.live.each([
    "srve",
    "serve --prot 80",
    "serve --port 99999",
    "serve --port http",
    "serve --concurrency 0",
    "start --rp_log_level LOUD",
    "invoke endpoint",
    "run",
    "prune --days -1",
  ])("explains the usage error in %s", (line) =>
    Effect.gen(function* () {
      const { code, stdout, stderr } = yield* runLine(line);
      assert.strictEqual(code, 2);
      assert.strictEqual(stdout, "");
      assert.notMatch(stderr, /\n\s+at /);
      expect(stderr).toMatchSnapshot("message");
    }),
  );

  it.live.each(["bash", "zsh", "fish", "powershell"])(
    "prints a completion script for %s",
    (shell) =>
      Effect.gen(function* () {
        const { code, stdout } = yield* runLine(`--completions ${shell}`);
        assert.strictEqual(code, 0);
        for (const word of ["invoke", "doctor", "rp_serve_api", "dry-run"]) {
          assert.include(stdout, word);
        }
      }),
  );
});
