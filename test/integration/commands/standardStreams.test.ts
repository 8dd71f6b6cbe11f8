import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { requestFile } from "../../support/files/RequestFile.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { loopbackServer, respondJson } from "../../support/http/LoopbackServer.ts";
import { runProcess } from "../../support/processes/ChildProcess.ts";
import { realEnvironment } from "../../support/processes/RealWorker.ts";
import { workerCommand } from "../../support/processes/WorkerProcess.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

const SIZE = 5_000_113;

/** What an answer in JSON has around its result, with the end of its line. */
const AROUND =
  '{"success":true,"result":null,"json_result":"","error":null,"stdout":"","instance_id":null,"instance_info":null}\n'
    .length;

const LONG = functionInput(`def f():\n    return "x" * ${SIZE - AROUND}`);

/** A line of shell in which `worker "$@"` is this program; its id goes to the file or pipe `$PID`. */
const shell = (
  line: string,
  args: ReadonlyArray<string>,
  variables: Readonly<Record<string, string>> = {},
) =>
  Effect.suspend(() => {
    const script = `worker() { sh -c 'echo $$ > "$PID"; exec ${workerCommand()} "$@"' sh "$@"; }\n${line}`;
    return runProcess("bash", ["-c", script, "bash", ...args], {
      environment: realEnvironment(variables),
    });
  });

/** The output for a reader that starts late, through a pipe of this many bytes; `status` is the worker's. */
const readLate = Effect.fnUntraced(function* (
  args: ReadonlyArray<string>,
  pipeSize = 65_536,
  variables: Readonly<Record<string, string>> = {},
) {
  const folder = yield* temporaryFolder;
  return yield* shell(
    `mkfifo "$PID"; worker "$@" | python3 test/support/python/late_reader.py ${pipeSize} "$PID"; exit \${PIPESTATUS[0]}`,
    args,
    { PID: join(folder, "pid"), ...variables },
  );
});

/** An endpoint at which each job has ended with this output. */
const endpoint = (output: unknown) =>
  loopbackServer((request, response) => {
    request.resume();
    respondJson(response, { id: "a-job", status: "COMPLETED", output });
  });

describe("a reader that starts late gets all output", () => {
  it.live("of run --json", () =>
    Effect.gen(function* () {
      const { code, stdout, stderr } = yield* readLate(["run", "--json", yield* requestFile(LONG)]);
      assert.strictEqual(code, 0, stderr);
      assert.lengthOf(stdout, SIZE);
      assert.deepInclude(JSON.parse(stdout), { success: true });
    }).pipe(Effect.scoped),
  );

  it.live("of invoke --json", () =>
    Effect.gen(function* () {
      const { url } = yield* endpoint({
        success: true,
        result: null,
        json_result: "x".repeat(SIZE - AROUND),
        stdout: "",
      });
      const args = ["invoke", "any", "--json", "--url", url, yield* requestFile({})];
      const { code, stdout, stderr } = yield* readLate(args);
      assert.strictEqual(code, 0, stderr);
      assert.lengthOf(stdout, SIZE);
      assert.deepInclude(JSON.parse(stdout), { success: true });
    }).pipe(Effect.scoped),
  );

  it.live("of start --test_input", () =>
    Effect.gen(function* () {
      const { code, stdout, stderr } = yield* readLate([
        "start",
        "--test_input",
        JSON.stringify({ input: LONG }),
      ]);
      assert.strictEqual(code, 0, stderr);
      assert.isAtLeast(stdout.length, SIZE);
      assert.isTrue(stdout.endsWith("}\n"));
    }).pipe(Effect.scoped),
  );

  it.live.each([
    ["doctor --json", /^\{\n.*\n\}\n$/s],
    ["--completions bash", /complete .*\n$/s],
  ] as const)("of %s through a small pipe", ([line, whole]) =>
    Effect.gen(function* () {
      const { stdout, stderr } = yield* readLate(line.split(" "), 4096);
      assert.isAbove(stdout.length, 4096, stderr);
      assert.match(stdout, whole);
    }).pipe(Effect.scoped),
  );

  it.live("that a command writes to stderr", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const { code, stdout } = yield* shell(
        `mkfifo "$PID"; worker "$@" 2>&1 >/dev/null | python3 test/support/python/late_reader.py 65536 "$PID"; exit \${PIPESTATUS[0]}`,
        ["run", `/${"n".repeat(70_000)}`],
        { PID: join(folder, "pid") },
      );
      assert.strictEqual(code, 2);
      assert.isAbove(stdout.length, 70_000);
    }).pipe(Effect.scoped),
  );
});

describe("a reader that closes the pipe", () => {
  it.live("causes no stack trace and does not change the exit code", () =>
    Effect.gen(function* () {
      const file = yield* requestFile([LONG, LONG]);
      const folder = yield* temporaryFolder;
      const { code, stdout, stderr } = yield* shell(
        `worker "$@" | head -c 10; exit \${PIPESTATUS[0]}`,
        ["run", "--json", file],
        { PID: join(folder, "pid") },
      );
      assert.strictEqual(stdout, '{"success"');
      assert.notMatch(stderr, /EPIPE|\n\s+at /);
      assert.strictEqual(code, 0);
    }).pipe(Effect.scoped),
  );
});

describe("output to a full disk", () => {
  it.live("is reported on stderr with exit code 1", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const { code, stderr } = yield* shell(
        `worker "$@" > /dev/full`,
        ["run", "--json", yield* requestFile(LONG)],
        { PID: join(folder, "pid") },
      );
      assert.strictEqual(code, 1);
      assert.include(stderr, "Could not write to stdout");
      assert.notMatch(stderr, /\n\s+at /);
    }).pipe(Effect.scoped),
  );

  it.live("is reported by a command that exits right after its only write", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      for (const flag of ["--help", "--version"]) {
        const { code, stderr } = yield* shell(`worker "$@" > /dev/full`, [flag], {
          PID: join(folder, "pid"),
        });
        assert.strictEqual(code, 1, flag);
        assert.include(stderr, "Could not write to stdout", flag);
      }
    }).pipe(Effect.scoped),
  );
});
