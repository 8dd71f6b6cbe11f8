import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer } from "effect";

import { ResultDisplay } from "../../../src/cli/results/ResultDisplay.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { Workspace } from "../../../src/workspace/Workspace.ts";
import { prepared } from "../../support/fakes/FakeRunner.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";

/** Prints its arguments, working directory, home and variable names instead of a value. */
const PYTHON = `#!/bin/sh
printf '%s|' "$*" "$(pwd)" "$HOME" "$(env | sed 's/=.*//' | sort | tr '\\n' ' ')"
`;

/** Variables that the shell adds. */
const OF_SHELL = new Set(["OLDPWD", "PWD", "SHLVL", "_"]);

describe("ResultDisplay.layerLoading", () => {
  it.live(
    "loads a result with an isolated Python in a new folder, without the user's variables",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder;
        const python = join(folder, "python");
        writeFileSync(python, PYTHON);
        chmodSync(python, 0o755);
        const shown = yield* Effect.flatMap(ResultDisplay, ({ show }) =>
          show(Buffer.from("N.")),
        ).pipe(
          Effect.provide(
            ResultDisplay.layerLoadingNoDeps.pipe(
              Layer.provide([
                Layer.mock(Workspace, { ready: Effect.succeed({ ...prepared, python }) }),
                NodeServices.layer,
                Environment.layerOf({
                  PATH: process.env["PATH"],
                  LANG: "C.UTF-8",
                  HOME: "/home/me",
                  PYTHONPATH: folder,
                  RUNPOD_API_KEY: "rpa_Zq81mXw3Vt60bLk9Ys",
                  ANYTHING: "of the user",
                }),
              ]),
            ),
          ),
        );
        const [args = "", own, home, names = ""] = shown.split("|");
        assert.match(args, /^-I \S+\/show_value\.py 2000$/);
        assert.match(own ?? "", /\/worker-tetra-value-[^/]+$/);
        assert.strictEqual(home, own);
        assert.deepStrictEqual(
          names.split(" ").filter((name) => name !== "" && !OF_SHELL.has(name)),
          ["HOME", "LANG", "PATH", "TMPDIR"],
        );
      }).pipe(Effect.scoped),
  );
});

const display = (...parts: ReadonlyArray<string>) =>
  Effect.flatMap(ResultDisplay, ({ show }) => show(Buffer.from(parts.join(""), "latin1"))).pipe(
    Effect.provide(ResultDisplay.layer),
  );

const TOO_MANY_OBJECTS = "(only the beginning was read: it has more than 500,000 objects)";

describe("ResultDisplay.layer", () => {
  it.effect.each([
    ["nested tuples", ")", "\x85", "."],
    ["calls", "cos\nnothing\n", ")R", "."],
    ["strings", "]", "\x8c\x01xa", "."],
    ["memo entries", "]", "\x94", "."],
  ] as const)(
    "reads a large result of %s up to the maximum number of objects, and reports that",
    ([, start, one, end]) =>
      Effect.gen(function* () {
        const text = yield* display(start, one.repeat(600_000), end);
        assert.isTrue(text.endsWith(TOO_MANY_OBJECTS), text.slice(-200));
      }),
  );

  it.effect("shows the part of a large result that was read", () =>
    Effect.gen(function* () {
      const text = yield* display("]", "K\x07a".repeat(3), "]a".repeat(600_000), ".");
      assert.match(text, /^\[7, 7, 7, \[\], /);
      const whole = yield* display("]", "K\x07a".repeat(3), "]a".repeat(100_000), ".");
      assert.notInclude(whole, "beginning");
    }),
  );

  it.effect("reports a result with too many opcodes, whether or not a value was built", () =>
    Effect.gen(function* () {
      const limit = "it has more than 4,000,000 opcodes";
      const many = "N0".repeat(2_100_000);
      assert.strictEqual(
        yield* display("]", many, "."),
        `[] (only the beginning was read: ${limit})`,
      );
      assert.strictEqual(yield* display(many, "N."), `a value that can't be shown: ${limit}`);
    }),
  );
});
