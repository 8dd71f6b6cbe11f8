import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Schema } from "effect";

import type { Mutant } from "./Mutant.ts";
import type { Target } from "./Targets.ts";

const COSMIC_RAY = "cosmic-ray==8.7.0";

const COPIED = ["src/python", "test/python"];

/** Several times what the tests of a module take on a busy machine: a mutant that takes longer hangs. */
const TIMEOUT_SECONDS = 60;

const decodeItem = Schema.decodeUnknownSync(
  Schema.fromJsonString(
    Schema.Tuple([
      Schema.Struct({
        mutations: Schema.Array(
          Schema.Struct({
            operator_name: Schema.String,
            start_pos: Schema.Tuple([Schema.Int, Schema.Int]),
          }),
        ),
      }),
      Schema.NullOr(
        Schema.Struct({
          test_outcome: Schema.NullOr(Schema.String),
          diff: Schema.NullOr(Schema.String),
        }),
      ),
    ]),
  ),
);

/** The replacement of a line in a diff. */
const replacementIn = (diff: string): string => (/^\+(?!\+\+)(.*)$/m.exec(diff)?.[1] ?? "").trim();

/** Whether a change can't matter: annotations and the imports for them are not evaluated. */
const isOfTypes = (line: string, operator: string): boolean =>
  line === "if TYPE_CHECKING:" || (line.startsWith("def ") && operator.includes("_BitOr_"));

/** The interpreter that has pytest. */
const python = () =>
  execFileSync("sh", ["test/python/tool.sh", "--path"], { stdio: ["ignore", "pipe", "inherit"] })
    .toString()
    .trim();

/** Tries every mutant of a module with cosmic-ray (installed by `uv`) in a copy of the project: it edits files in place. */
export const mutantsOf = (uv: string, target: Target): ReadonlyArray<Mutant> => {
  const folder = mkdtempSync(join(tmpdir(), "worker-tetra-mutation-"));
  try {
    for (const name of COPIED) {
      cpSync(name, join(folder, name), {
        recursive: true,
        // Python trusts compiled code whose source has the same size and was written in the same second.
        filter: (path) => !path.includes("__pycache__"),
      });
    }
    writeFileSync(
      join(folder, "cosmic-ray.toml"),
      [
        "[cosmic-ray]",
        `module-path = ${JSON.stringify(target.module)}`,
        `timeout = ${TIMEOUT_SECONDS}.0`,
        "excluded-modules = []",
        `test-command = ${JSON.stringify(`${python()} -B -m pytest -q -x -c src/python/pyproject.toml ${target.tests.join(" ")}`)}`,
        "[cosmic-ray.distributor]",
        'name = "local"',
      ].join("\n"),
    );
    const cosmicRay = (...args: ReadonlyArray<string>) => {
      const { status, stdout } = spawnSync(
        uv,
        ["tool", "run", "--quiet", "--from", COSMIC_RAY, "cosmic-ray", ...args],
        { cwd: folder, stdio: ["ignore", "pipe", "inherit"], maxBuffer: 256 * 1024 * 1024 },
      );
      if (status !== 0) throw new Error(`cosmic-ray ${args[0]} failed for ${target.module}`);
      return stdout.toString();
    };
    cosmicRay("baseline", "cosmic-ray.toml");
    cosmicRay("init", "cosmic-ray.toml", "session.sqlite");
    cosmicRay("exec", "cosmic-ray.toml", "session.sqlite");
    const lines = readFileSync(target.module, "utf8").split("\n");
    return cosmicRay("dump", "session.sqlite")
      .split("\n")
      .filter((text) => text.trim() !== "")
      .map((text) => decodeItem(text))
      .flatMap(([{ mutations }, result]) =>
        mutations.flatMap(({ operator_name, start_pos: [number] }) => {
          const line = (lines[number - 1] ?? "").trim();
          if (isOfTypes(line, operator_name)) return [];
          return [
            {
              module: target.module,
              line,
              change: `${operator_name.replace("core/", "")}: ${replacementIn(result?.diff ?? "")}`,
              isKilled: result !== null && result.test_outcome !== "survived",
            },
          ];
        }),
      );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};
