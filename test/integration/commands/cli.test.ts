import { spawn } from "node:child_process";
import { createServer } from "node:net";

import { assert, describe, it } from "@effect/vitest";
import { inject } from "vitest";

import { realEnvironment } from "../../support/processes/RealWorker.ts";
import { functionInput } from "../../support/values/JobInputs.ts";

interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

/** The program from its sources, as `npm start` runs it. */
const SOURCES = ["--import", "./src/preflight.mjs", "src/main.ts"];

const start = (
  args: ReadonlyArray<string>,
  settings?: Readonly<Record<string, string>>,
  program: ReadonlyArray<string> = [inject("program")],
) => spawn(process.execPath, [...program, ...args], { env: realEnvironment(settings) });

const finished = (child: ReturnType<typeof start>): Promise<Finished> => {
  let out = "";
  let err = "";
  child.stdout.on("data", (bytes: Buffer) => (out += bytes.toString()));
  child.stderr.on("data", (bytes: Buffer) => (err += bytes.toString()));
  return new Promise((resolve) =>
    child.once("close", (code, signal) => resolve({ code, signal, out, err })),
  );
};

const program = (
  args: ReadonlyArray<string>,
  input = "",
  settings?: Readonly<Record<string, string>>,
) => {
  const child = start(args, settings);
  child.stdin.end(input);
  return finished(child);
};

describe("worker-tetra", () => {
  it("runs the first example", async () => {
    const { code, out } = await finished(start(["run", "fixtures/hello_world.json"], {}, SOURCES));
    assert.strictEqual(code, 0);
    assert.match(
      out,
      /^▶ fixtures\/hello_world\.json\nHello, world\n✓ succeeded in [\d.]+ s\n  result: 'Hello from worker-tetra!'\n$/,
    );
  });

  it("gives each answer as one line of JSON, and keeps everything else off stdout", async () => {
    const { code, out, err } = await program([
      "run",
      "--json",
      "fixtures/all_output.json",
      "fixtures/failing_function.json",
    ]);
    assert.strictEqual(code, 1);
    const answers = out
      .trimEnd()
      .split("\n")
      .map((line): unknown => JSON.parse(line));
    assert.lengthOf(answers, 2);
    assert.deepInclude(answers[0], { success: true, error: null });
    assert.deepInclude(answers[1], { success: false, result: null });
    assert.include(err, "4 os.write");
  });

  it.each([[[]], [["--json"]]])(
    "shows every line that a job prints, and nothing that controls a terminal, with flags %j",
    async (flags) => {
      const { code, out, err } = await program(
        ["run", ...flags, "-"],
        JSON.stringify(
          functionInput(
            "def f():\n    for i in range(5000):\n        print('line', i)\n    print('\\x1b[31mred\\x1b[2J\\r\\u202e')",
          ),
        ),
      );
      assert.strictEqual(code, 0);
      const shown = flags.length === 0 ? out : err;
      const lines = shown.split("\n").filter((line) => line.startsWith("line "));
      assert.deepStrictEqual(
        lines,
        Array.from({ length: 5000 }, (_, at) => `line ${at}`),
      );
      assert.include(shown, "\\x1b[31mred\\x1b[2J\\r\\u202e");
      // oxlint-disable-next-line no-control-regex
      assert.notMatch(out + err, /[\0-\x08\x0b-\x1f\x7f-\x9f\u202e]/);
    },
  );

  it("reads a request from stdin", async () => {
    const { code, out } = await program(
      ["run", "--json", "-"],
      JSON.stringify(functionInput("def f(a): return a", [{ deep: [1, null, "é"] }])),
    );
    assert.strictEqual(code, 0);
    assert.include(out, '"json_result":{"deep":[1,null,"é"]}');
  });

  it.each([
    [["run"], "Missing required argument"],
    [["rnu"], "Did you mean this?"],
    [["run", "--jsn", "x"], "Did you mean this?"],
    [["run", "nothing.json"], "nothing.json: there is no such file"],
  ])("says on stderr what is wrong with %j, and exits with 2", async (args, reason) => {
    const { code, out, err } = await program(args);
    assert.strictEqual(code, 2);
    assert.include(err, reason);
    assert.strictEqual(out, "");
    assert.notInclude(err, "    at ");
  });

  it("refuses a setting that it can't use, and names it", async () => {
    const { code, err } = await program(["run", "fixtures/hello_world.json"], "", {
      WORKER_JOB_TIMEOUT: "soon",
    });
    assert.strictEqual(code, 2);
    assert.include(err, 'WORKER_JOB_TIMEOUT is "soon"');
  });

  it("has help with examples for every command", async () => {
    const { code, out } = await program(["run", "--help"]);
    assert.strictEqual(code, 0);
    assert.include(out, "worker-tetra run fixtures/hello_world.json");
    assert.include(out, "--json");
  });

  it("says so when an old Node runs it, and what to do", async () => {
    const older =
      "data:text/javascript,Object.defineProperty(process, 'versions', { value: { node: '20.20.2' } })";
    const child = spawn(process.execPath, ["--import", older, "src/preflight.mjs"]);
    const { code, err } = await finished(child);
    assert.strictEqual(code, 1);
    assert.include(err, "needs Node 22.19 or newer, and this is 20.20.2");
    assert.include(err, "npm ci");
  });

  it.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("leaves no process behind when it gets %s", async (signal, code) => {
    const child = start(["run", "-"]);
    const pid = new Promise<number>((resolve) => {
      child.stdout.on("data", (bytes: Buffer) => {
        const found = /pid (\d+)/.exec(bytes.toString())?.[1];
        if (found !== undefined) resolve(Number(found));
      });
    });
    const end = finished(child);
    child.stdin.end(
      JSON.stringify(
        functionInput(
          "import os, time\ndef f():\n    print('pid', os.getpid())\n    time.sleep(600)",
        ),
      ),
    );
    const python = await pid;
    child.kill(signal);
    assert.strictEqual((await end).code, code);
    assert.throws(() => process.kill(python, 0), /ESRCH/);
  });

  it("takes its Python process with it when it is killed", async () => {
    const child = start(["run", "-"]);
    // The job holds a connection to here: it closes when the job's process is gone.
    const server = createServer();
    const gone = new Promise<void>((resolve) => {
      server.once("connection", (connection) => {
        connection.once("close", () => resolve()).resume();
        child.kill("SIGKILL");
      });
    });
    const end = finished(child);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    child.stdin.end(
      JSON.stringify(
        functionInput(
          "import socket, time\ndef f(port):\n    held = socket.create_connection(('127.0.0.1', port))\n    time.sleep(600)",
          [typeof address === "object" ? address?.port : undefined],
        ),
      ),
    );
    await gone;
    server.close();
    assert.strictEqual((await end).signal, "SIGKILL");
  });
});
