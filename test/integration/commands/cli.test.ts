import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Exit } from "effect";
import { inject } from "vitest";

import { loopbackServer } from "../../support/http/LoopbackServer.ts";
import { runProcess, startProcess } from "../../support/processes/ChildProcess.ts";
import { realEnvironment } from "../../support/processes/RealWorker.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

/** The program from its sources, as `npm start` runs it. */
const SOURCES = ["--import", "./src/preflight.mjs", "src/main.ts"];

const node = (
  args: ReadonlyArray<string>,
  input = "",
  settings?: Readonly<Record<string, string>>,
) => runProcess(process.execPath, args, { environment: realEnvironment(settings), input });

/** Runs the program to its end. */
const cli = (
  args: ReadonlyArray<string>,
  input = "",
  settings?: Readonly<Record<string, string>>,
) => node([inject("program"), ...args], input, settings);

/** Starts the program with a request on stdin. */
const startRun = (request: object) =>
  startProcess(process.execPath, [inject("program"), "run", "-"], {
    environment: realEnvironment(),
    input: JSON.stringify(request),
  });

describe("worker-tetra", () => {
  it.live("runs the first example from its sources", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* node([...SOURCES, "run", "fixtures/hello_world.json"]);
      assert.strictEqual(code, 0);
      assert.match(
        stdout,
        /^▶ fixtures\/hello_world\.json\nHello, world\n✓ succeeded in [\d.]+ s\n  result: 'Hello from worker-tetra!'\n$/,
      );
    }),
  );

  it.live("run --json writes one line of JSON for each request, and nothing else, to stdout", () =>
    Effect.gen(function* () {
      const { code, stdout, stderr } = yield* cli([
        "run",
        "--json",
        "fixtures/all_output.json",
        "fixtures/failing_function.json",
      ]);
      assert.strictEqual(code, 1);
      const answers = stdout
        .trimEnd()
        .split("\n")
        .map((line): unknown => JSON.parse(line));
      assert.lengthOf(answers, 2);
      assert.deepInclude(answers[0], { success: true, error: null });
      assert.deepInclude(answers[1], { success: false, result: null });
      assert.include(stderr, "4 os.write");
    }),
  );

  it.live.each([[[]], [["--json"]]] as const)(
    "run with flags %j shows every line that a job prints, with control characters escaped",
    ([flags]) =>
      Effect.gen(function* () {
        const { code, stdout, stderr } = yield* cli(
          ["run", ...flags, "-"],
          JSON.stringify(
            functionInput(
              "def f():\n    for i in range(5000):\n        print('line', i)\n    print('\\x1b[31mred\\x1b[2J\\r\\u202e')",
            ),
          ),
        );
        assert.strictEqual(code, 0);
        const shown = flags.length === 0 ? stdout : stderr;
        const lines = shown.split("\n").filter((line) => line.startsWith("line "));
        assert.deepStrictEqual(
          lines,
          Array.from({ length: 5000 }, (_, at) => `line ${at}`),
        );
        assert.include(shown, "\\x1b[31mred\\x1b[2J\\r\\u202e");
        // oxlint-disable-next-line no-control-regex
        assert.notMatch(stdout + stderr, /[\0-\x08\x0b-\x1f\x7f-\x9f\u202e]/);
      }),
  );

  it.live("run - reads a request from stdin", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* cli(
        ["run", "--json", "-"],
        JSON.stringify(functionInput("def f(a): return a", [{ deep: [1, null, "é"] }])),
      );
      assert.strictEqual(code, 0);
      assert.include(stdout, '"json_result":{"deep":[1,null,"é"]}');
    }),
  );

  it.live.each([
    [["run"], "Missing required argument"],
    [["rnu"], "Did you mean this?"],
    [["run", "--jsn", "x"], "Did you mean this?"],
    [["run", "nothing.json"], "nothing.json: file not found"],
  ] as const)("explains on stderr what is wrong with %j and exits with 2", ([args, reason]) =>
    Effect.gen(function* () {
      const { code, stdout, stderr } = yield* cli(args);
      assert.strictEqual(code, 2);
      assert.include(stderr, reason);
      assert.strictEqual(stdout, "");
      assert.notInclude(stderr, "    at ");
    }),
  );

  it.live("names a setting with an invalid value and exits with 2", () =>
    Effect.gen(function* () {
      const { code, stderr } = yield* cli(["run", "fixtures/hello_world.json"], "", {
        WORKER_JOB_TIMEOUT: "soon",
      });
      assert.strictEqual(code, 2);
      assert.include(stderr, 'WORKER_JOB_TIMEOUT is "soon"');
    }),
  );

  it.live("run --help shows examples and flags", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* cli(["run", "--help"]);
      assert.strictEqual(code, 0);
      assert.include(stdout, "worker-tetra run fixtures/hello_world.json");
      assert.include(stdout, "--json");
    }),
  );

  it.live("refuses to run on a Node that is too old, and says what to do", () =>
    Effect.gen(function* () {
      const older =
        "data:text/javascript,Object.defineProperty(process, 'versions', { value: { node: '20.20.2' } })";
      const { code, stderr } = yield* node(["--import", older, "src/preflight.mjs"]);
      assert.strictEqual(code, 1);
      assert.include(stderr, "requires Node 22.19 or newer; this is 20.20.2");
      assert.include(stderr, "npm ci");
    }),
  );

  it.live.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("ends its Python process on %s and exits with %i", ([signal, expected]) =>
    Effect.gen(function* () {
      const run = yield* startRun(
        functionInput(
          "import os, time\ndef f():\n    print('pid', os.getpid())\n    time.sleep(600)",
        ),
      );
      const [, pid] = yield* run.wrote(/pid (\d+)\n/);
      yield* run.signal(signal);
      assert.strictEqual((yield* run.ended).code, expected);
      assert.throws(() => process.kill(Number(pid), 0), /ESRCH/);
    }).pipe(Effect.scoped),
  );

  it.live("leaves no Python process behind when it is killed", () =>
    Effect.gen(function* () {
      // The job holds a connection to here: it closes when the job's process is gone.
      const { server, port } = yield* loopbackServer(() => {});
      const connected = Deferred.makeUnsafe<void>();
      const closed = Deferred.makeUnsafe<void>();
      server.once("connection", (connection) => {
        connection.once("close", () => Deferred.doneUnsafe(closed, Exit.void)).resume();
        Deferred.doneUnsafe(connected, Exit.void);
      });
      const run = yield* startRun(
        functionInput(
          "import socket, time\ndef f(port):\n    held = socket.create_connection(('127.0.0.1', port))\n    time.sleep(600)",
          [port],
        ),
      );
      yield* Deferred.await(connected);
      yield* run.signal("SIGKILL");
      assert.strictEqual((yield* run.ended).signal, "SIGKILL");
      yield* Deferred.await(closed);
    }).pipe(Effect.scoped),
  );
});
