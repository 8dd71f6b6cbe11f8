import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it, vi } from "@effect/vitest";
import { Deferred, Effect, Fiber, Layer, Logger } from "effect";
import { TestClock } from "effect/testing";

import { Programs } from "../../../src/platform/programs/Programs.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { advanceUntilDone, poll } from "../../support/effects/Waiting.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { leaksOf } from "../../support/values/Leaks.ts";

const KEY = "rpa_0123456789abcdef";

const provide = Effect.provide(
  Programs.layer.pipe(
    Layer.provide(Environment.layerOf({ PATH: process.env["PATH"], RUNPOD_API_KEY: KEY })),
  ),
);

type Options = Parameters<Programs["Service"]["run"]>[2];

const node = (code: string, options?: Options) =>
  Effect.flatMap(Programs, ({ run }) => run(process.execPath, ["-e", code], options));

/** Runs a shell command, which starts much faster than Node. */
const shell = (code: string, options?: Options) =>
  Effect.flatMap(Programs, ({ run }) => run("sh", ["-c", code], options));

/** A shell command that prints a text. */
const print = (text: string) =>
  Effect.map(temporaryFolder, (folder) => {
    writeFileSync(join(folder, "text"), text);
    return `cat ${join(folder, "text")}`;
  });

/** Collects log messages in `lines`. */
const captured = (lines: Array<string>, onLine?: Deferred.Deferred<void>) =>
  Logger.layer([
    Logger.make(({ message }) => {
      lines.push(String(message));
      if (onLine !== undefined) Deferred.doneUnsafe(onLine, Effect.void);
    }),
  ]);

/** Whether a process is running. A zombie, whose parent has not read its exit code, is not. */
const isAlive = (pid: number): boolean => {
  try {
    return process.platform === "linux"
      ? !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))
      : process.kill(pid, 0);
  } catch {
    return false;
  }
};

describe("a program of the worker", () => {
  it.live("returns its output, or fails with its exit code and output", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* shell("echo hello"), "hello\n");
      const error = yield* Effect.flip(shell("echo no way >&2; exit 3"));
      assert.deepInclude(error, { exitCode: 3, output: "no way\n" });
      const missing = yield* Effect.flip(
        Effect.flatMap(Programs, ({ run }) => run("no-such-program", [])),
      );
      assert.include(missing.message, "ENOENT");
    }).pipe(provide),
  );

  it.live("is found on the worker's PATH, but never in a folder that jobs can write to", () =>
    Effect.gen(function* () {
      const root = yield* temporaryFolder;
      /** Creates a folder with a program that prints the folder's name. */
      const plant = (folder: string) => {
        mkdirSync(join(root, folder), { recursive: true });
        const file = join(root, folder, "flock");
        writeFileSync(file, `#!/bin/sh\necho ${folder}\n`, { mode: 0o755 });
        return join(root, folder);
      };
      const venv = plant("venv/bin");
      writeFileSync(join(root, "venv", "pyvenv.cfg"), "");
      const bad = [
        ".",
        "",
        "relative",
        venv,
        plant("app/.venv/bin"),
        plant("volume/bin"),
        plant("own/bin"),
      ];
      const workspace = plant("own");
      const PATH = [...bad, plant("good"), "/usr/bin", "/bin"].join(":");
      const run = (environment: Readonly<Record<string, string>>) =>
        Effect.flatMap(Programs, (programs) =>
          Effect.all([
            programs.run("flock", [], { directory: workspace, environment }),
            programs.run("sh", ["-c", "flock"], { directory: workspace, environment }),
          ]),
        ).pipe(
          Effect.provide(
            Layer.provide(
              Programs.layer,
              Environment.layerOf({
                PATH,
                RUNPOD_VOLUME_PATH: join(root, "volume"),
                WORKER_WORKSPACE_PATH: workspace,
              }),
            ),
          ),
        );
      for (const environment of [
        {},
        { PATH: `${venv}:${PATH}`, VIRTUAL_ENV: join(root, "venv") },
      ]) {
        assert.deepStrictEqual(yield* run(environment), ["good\n", "good\n"]);
      }
    }).pipe(Effect.scoped),
  );

  it.live("logs its lines live, without credentials", () => {
    const lines: Array<string> = [];
    const code = "echo from https://me:secret@host/; echo hidden >&2; echo rpa_0123456789abcdef";
    return shell(code, { live: { stream: "stdout", name: "tool" } }).pipe(
      provide,
      Effect.provide(captured(lines)),
      Effect.map(() =>
        assert.deepStrictEqual(lines, ["tool: from https://***@host/", "tool: ***"]),
      ),
    );
  });

  it.live("has long lines shortened in the log", () => {
    const lines: Array<string> = [];
    const live = { stream: "stdout", name: "tool" } as const;
    return print(`${"x".repeat(20_000)}\nnext\n`).pipe(
      Effect.flatMap((code) => shell(code, { live })),
      Effect.scoped,
      provide,
      Effect.provide(captured(lines)),
      Effect.map(() => {
        const [long = "", next] = lines;
        assert.match(long, /^tool: x{1000}/);
        assert.isBelow(long.length, 5000);
        assert.strictEqual(next, "tool: next");
      }),
    );
  });

  it.live("logs no part of a secret, wherever a line or a write ends", () => {
    const lines: Array<string> = [];
    const code = `
const key = "${KEY}";
const { writeSync } = require("fs");
for (let offset = -8; offset < 32; offset += 1) writeSync(1, "x".repeat(4090 - offset) + key + "y".repeat(100) + "\\n");
(async () => {
  for (const byte of Buffer.from(key + "\\n")) {
    writeSync(1, Buffer.of(byte));
    await new Promise(setImmediate);
  }
})();`;
    return node(code, { live: { stream: "stdout", name: "tool" } }).pipe(
      provide,
      Effect.provide(captured(lines)),
      Effect.map(() => {
        assert.lengthOf(lines, 41);
        assert.isEmpty(leaksOf(KEY, lines.join("\n")));
        assert.include(lines[0], "more characters)");
        assert.strictEqual(lines.at(-1), "tool: ***");
      }),
    );
  });

  it.live("logs no part of a password in a URL if a long line is cut", () => {
    const lines: Array<string> = [];
    const password = "a-password-of-a-job";
    const address = `https://me:${password}@host/ `;
    const text = Array.from(address, (_, offset) => `${"x".repeat(4096 - offset)}${address}\n`);
    return print(text.join("")).pipe(
      Effect.flatMap((code) => shell(code, { live: { stream: "stdout", name: "tool" } })),
      Effect.scoped,
      provide,
      Effect.provide(captured(lines)),
      Effect.map(() => {
        assert.isAtLeast(lines.length, password.length);
        assert.isEmpty(leaksOf(password, lines.join("\n")));
        assert.include(lines.at(-1), "xhttps://***@host/");
      }),
    );
  });

  it.live("logs no line of a secret of several short lines", () => {
    const lines: Array<string> = [];
    const secret = "one-line\ntwo-line\nend-line";
    return shell(`printf 'before\\n%s\\nafter\\n' "$A_SECRET"`, {
      live: { stream: "stdout", name: "tool" },
    }).pipe(
      Effect.provide(
        Programs.layer.pipe(
          Layer.provide(Environment.layerOf({ PATH: process.env["PATH"], A_SECRET: secret })),
          Layer.merge(captured(lines)),
        ),
      ),
      Effect.map(() => assert.notInclude(lines.join(), "-line")),
    );
  });

  it.live("shows no part of a secret in its error if output is left out", () =>
    Effect.gen(function* () {
      const address = "https://me:a-password-of-a-job@host/";
      for (const offset of [4, 10, 16, 30]) {
        const [before, after] = [
          "x ".repeat(16 * 1024).slice(offset),
          "z ".repeat(16 * 1024).slice(offset),
        ];
        for (const secret of [KEY, address]) {
          const code = yield* print(before + secret + " y".repeat(40_000) + secret + after);
          const error = yield* Effect.flip(shell(`${code}; exit 1`));
          assert.include(error.output, "bytes of output left out here");
          assert.isEmpty(leaksOf(KEY, error.message));
          assert.isEmpty(leaksOf("me:a-password-of-a-job", error.message));
        }
      }
    }).pipe(Effect.scoped, provide),
  );

  it.live("shows no credentials in its error", () =>
    Effect.gen(function* () {
      const address = "git+https://me:0123456789@host/x.git";
      const run = Effect.flatMap(Programs, (programs) =>
        programs.run("sh", ["-c", `echo ${address} >&2; exit 1`]),
      );
      const error = yield* Effect.flip(run);
      assert.include(error.message, "https://***@host/x.git");
      assert.notInclude(error.message, "0123456789");
    }).pipe(provide),
  );

  it.live("is killed with its child processes when it is interrupted", () =>
    Effect.gen(function* () {
      const lines: Array<string> = [];
      const started = yield* Deferred.make<void>();
      const code = "sleep 600 & echo $$ $!; wait";
      const fiber = yield* Effect.forkChild(
        shell(code, { live: { stream: "stdout", name: "pids" } }).pipe(
          provide,
          Effect.provide(captured(lines, started)),
        ),
      );
      yield* Deferred.await(started);
      yield* Fiber.interrupt(fiber);
      const pids = (lines[0] ?? "").replace("pids: ", "").split(" ").map(Number);
      assert.lengthOf(pids, 2);
      const left = yield* poll(
        Effect.sync(() => pids.filter(isAlive)),
        ({ length }) => length === 0,
      );
      assert.isEmpty(left);
    }),
  );

  it.effect("is not waited for if signals do not end it, as in a driver that hangs", () =>
    Effect.gen(function* () {
      const lines: Array<string> = [];
      const started = yield* Deferred.make<void>();
      const code = "echo $$; exec sleep 600";
      const fiber = yield* Effect.forkChild(
        shell(code, { live: { stream: "stdout", name: "pid" } }).pipe(
          provide,
          Effect.provide(captured(lines, started)),
        ),
      );
      yield* Deferred.await(started);
      const kill = vi.spyOn(process, "kill").mockReturnValue(true);
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          kill.mockRestore();
          process.kill(Number((lines[0] ?? "").replace("pid: ", "")), "SIGKILL");
        }),
      );
      const interrupted = yield* Effect.forkChild(Fiber.interrupt(fiber));
      yield* TestClock.adjust("10 seconds");
      yield* Fiber.join(interrupted);
      assert.deepStrictEqual(
        kill.mock.calls.map(([, signal]) => signal),
        ["SIGTERM", "SIGKILL"],
      );
    }),
  );

  it.effect("is not kept running by child processes that it leaves behind", () =>
    Effect.gen(function* () {
      const output = yield* advanceUntilDone(shell("sleep 600 & echo $!"));
      process.kill(Number(output));
      assert.match(output, /^\d+\n$/);
    }).pipe(provide),
  );
});
