import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer } from "effect";

import { ResultDisplay } from "../../src/cli/ResultDisplay.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { Workspace } from "../../src/workspace/Workspace.ts";
import { prepared } from "../support/FakeRunner.ts";

/** Shows its arguments, its folder, its home and the names of its variables, in place of a value. */
const PYTHON = `#!/bin/sh
printf '%s|' "$*" "$(pwd)" "$HOME" "$(env | sed 's/=.*//' | sort | tr '\\n' ' ')"
`;

/** Variables that a shell adds by itself. */
const OF_SHELL = new Set(["OLDPWD", "PWD", "SHLVL", "_"]);

describe("a result that is loaded", () => {
  it.live("is loaded by an isolated Python in a new folder, without variables of the user", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "worker-tetra-python-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true })),
      );
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
