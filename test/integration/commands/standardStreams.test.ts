import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, FileSystem, type Scope } from "effect";

import { loopbackServer, respondJson } from "../../support/http/LoopbackServer.ts";
import { realEnvironment } from "../../support/processes/RealWorker.ts";
import { workerCommand } from "../../support/processes/WorkerProcess.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

const SIZE = 5_000_113;

/** What an answer in JSON has around its result, with the end of its line. */
const AROUND =
  '{"success":true,"result":null,"json_result":"","error":null,"stdout":"","instance_id":null,"instance_info":null}\n'
    .length;

const LONG = functionInput(`def f():\n    return "x" * ${SIZE - AROUND}`);

interface Finished {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** A line of shell in which `worker "$@"` is this program; its id goes to the file or pipe `$PID`. */
const shell = (
  line: string,
  args: ReadonlyArray<string>,
  variables: Readonly<Record<string, string>> = {},
) =>
  Effect.callback<Finished>((resume) => {
    const script = `worker() { sh -c 'echo $$ > "$PID"; exec ${workerCommand()} "$@"' sh "$@"; }\n${line}`;
    const child = spawn("bash", ["-c", script, "bash", ...args], {
      env: realEnvironment(variables),
      stdio: ["ignore", "pipe", "pipe"],
    });
    const text = { out: "", err: "" };
    child.stdout.on("data", (bytes: Buffer) => (text.out += bytes.toString()));
    child.stderr.on("data", (bytes: Buffer) => (text.err += bytes.toString()));
    child.once("close", (status) => resume(Effect.succeed({ status, ...text })));
    return Effect.sync(() => child.kill("SIGKILL"));
  });

/** The output for a reader that starts late, through a pipe of this many bytes; `status` is the worker's. */
const readLate = Effect.fnUntraced(function* (
  args: ReadonlyArray<string>,
  pipeSize = 65_536,
  variables: Readonly<Record<string, string>> = {},
) {
  const files = yield* FileSystem.FileSystem;
  const folder = yield* files.makeTempDirectoryScoped();
  return yield* shell(
    `mkfifo "$PID"; worker "$@" | python3 test/support/python/late_reader.py ${pipeSize} "$PID"; exit \${PIPESTATUS[0]}`,
    args,
    { PID: join(folder, "pid"), ...variables },
  );
});

const requestFile = Effect.fnUntraced(function* (content: unknown) {
  const files = yield* FileSystem.FileSystem;
  const file = join(yield* files.makeTempDirectoryScoped(), "request.json");
  writeFileSync(file, JSON.stringify(content));
  return file;
});

/** An endpoint at which each job has ended with this output. */
const endpoint = (output: unknown) =>
  loopbackServer((request, response) => {
    request.resume();
    respondJson(response, { id: "a-job", status: "COMPLETED", output });
  });

const scoped = <A, E>(effect: Effect.Effect<A, E, FileSystem.FileSystem | Scope.Scope>) =>
  effect.pipe(Effect.scoped, Effect.provide(NodeServices.layer));

describe("a reader that begins late gets everything", () => {
  it.live("that run --json prints", () =>
    Effect.gen(function* () {
      const { status, out, err } = yield* readLate(["run", "--json", yield* requestFile(LONG)]);
      assert.strictEqual(status, 0, err);
      assert.lengthOf(out, SIZE);
      assert.deepInclude(JSON.parse(out), { success: true });
    }).pipe(scoped),
  );

  it.live("that invoke --json prints", () =>
    Effect.gen(function* () {
      const { url } = yield* endpoint({
        success: true,
        result: null,
        json_result: "x".repeat(SIZE - AROUND),
        stdout: "",
      });
      const args = ["invoke", "any", "--json", "--url", url, yield* requestFile({})];
      const { status, out, err } = yield* readLate(args);
      assert.strictEqual(status, 0, err);
      assert.lengthOf(out, SIZE);
      assert.deepInclude(JSON.parse(out), { success: true });
    }).pipe(scoped),
  );

  it.live("that start --test_input prints", () =>
    Effect.gen(function* () {
      const { status, out, err } = yield* readLate([
        "start",
        "--test_input",
        JSON.stringify({ input: LONG }),
      ]);
      assert.strictEqual(status, 0, err);
      assert.isAtLeast(out.length, SIZE);
      assert.isTrue(out.endsWith("}\n"));
    }).pipe(scoped),
  );

  it.live.each([
    ["doctor --json", /^\{\n.*\n\}\n$/s],
    ["--completions bash", /complete .*\n$/s],
  ] as const)("that %s prints, through a small pipe", ([line, whole]) =>
    Effect.gen(function* () {
      const { out, err } = yield* readLate(line.split(" "), 4096);
      assert.isAbove(out.length, 4096, err);
      assert.match(out, whole);
    }).pipe(scoped),
  );

  it.live("that stderr gets", () =>
    Effect.gen(function* () {
      const folder = yield* (yield* FileSystem.FileSystem).makeTempDirectoryScoped();
      const { status, out } = yield* shell(
        `mkfifo "$PID"; worker "$@" 2>&1 >/dev/null | python3 test/support/python/late_reader.py 65536 "$PID"; exit \${PIPESTATUS[0]}`,
        ["run", `/${"n".repeat(70_000)}`],
        { PID: join(folder, "pid") },
      );
      assert.strictEqual(status, 2);
      assert.isAbove(out.length, 70_000);
    }).pipe(scoped),
  );
});

describe("a reader that goes away", () => {
  it.live("ends no command with a stack trace, nor changes its exit code", () =>
    Effect.gen(function* () {
      const file = yield* requestFile([LONG, LONG]);
      const folder = yield* (yield* FileSystem.FileSystem).makeTempDirectoryScoped();
      const { status, out, err } = yield* shell(
        `worker "$@" | head -c 10; exit \${PIPESTATUS[0]}`,
        ["run", "--json", file],
        { PID: join(folder, "pid") },
      );
      assert.strictEqual(out, '{"success"');
      assert.notMatch(err, /EPIPE|\n\s+at /);
      assert.strictEqual(status, 0);
    }).pipe(scoped),
  );
});

describe("an output that can't be written", () => {
  it.live("is reported, and the exit code is not 0", () =>
    Effect.gen(function* () {
      const folder = yield* (yield* FileSystem.FileSystem).makeTempDirectoryScoped();
      const { status, err } = yield* shell(
        `worker "$@" > /dev/full`,
        ["run", "--json", yield* requestFile(LONG)],
        { PID: join(folder, "pid") },
      );
      assert.strictEqual(status, 1);
      assert.include(err, "stdout could not be written");
      assert.notMatch(err, /\n\s+at /);
    }).pipe(scoped),
  );

  it.live("is said, also where the command ends right after its only write", () =>
    Effect.gen(function* () {
      const folder = yield* (yield* FileSystem.FileSystem).makeTempDirectoryScoped();
      for (const flag of ["--help", "--version"]) {
        const { status, err } = yield* shell(`worker "$@" > /dev/full`, [flag], {
          PID: join(folder, "pid"),
        });
        assert.strictEqual(status, 1, flag);
        assert.include(err, "stdout could not be written", flag);
      }
    }).pipe(scoped),
  );
});
