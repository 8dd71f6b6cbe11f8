import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { temporaryFolder } from "../support/files/TemporaryFolder.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const textOf = (file: string) => readFileSync(join(ROOT, file), "utf8");

/** Fakes of the image's programs that `smoke.sh` runs; all succeed. */
const PROGRAMS = {
  "worker-tetra": `case "$*" in
  start) trap 'exit 0' TERM; echo "listening"; : >"$TMPDIR/ready"; while :; do sleep 1; done ;;
  *image*) echo '{"output":{"hello":"image"}}' ;;
  *) echo "$1 is well" ;;
esac`,
  tini: 'shift 2; exec "$@"',
  // Pings the worker.
  "base/bin/python": 'test -e "$TMPDIR/ready"',
  // Runs the health check.
  "bin/node": "echo healthy",
  // Shorter than in an image.
  sleep: "exec /bin/sleep 0.05",
};

/** Runs `smoke.sh` with fake programs, some of them replaced. */
const smoke = Effect.fnUntraced(function* (changes: Readonly<Record<string, string>> = {}) {
  const folder = yield* temporaryFolder;
  for (const [name, script] of Object.entries({ ...PROGRAMS, ...changes })) {
    mkdirSync(join(folder, name, ".."), { recursive: true });
    writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  for (const client of ["flash", "sdk"]) {
    mkdirSync(join(folder, "fixtures", "apps", client), { recursive: true });
  }
  writeFileSync(join(folder, "fixtures", "hello_world.json"), "{}");
  copyFileSync(join(ROOT, "docker", "smoke.sh"), join(folder, "smoke.sh"));
  const { status, stdout, stderr } = spawnSync("sh", [join(folder, "smoke.sh")], {
    env: { PATH: `${folder}:/usr/bin:/bin`, TMPDIR: folder },
    encoding: "utf8",
    timeout: 10_000,
  });
  return { status, output: stdout + stderr };
});

/** A worker whose given command fails. */
const failing = (command: string) => ({
  "worker-tetra": `case "$*" in
  ${command}) echo "no ${command} today" >&2; exit 3 ;;
esac
${PROGRAMS["worker-tetra"]}`,
});

describe("the smoke test of an image", () => {
  it.live("passes if all steps succeed, and shows the report of doctor", () =>
    Effect.gen(function* () {
      const { status, output } = yield* smoke();
      assert.strictEqual(status, 0, output);
      assert.include(output, "doctor is well");
      assert.include(output, "== all steps passed");
    }).pipe(Effect.scoped),
  );

  it.live.each<readonly [string, Readonly<Record<string, string>>, ReadonlyArray<string>]>([
    ["doctor", failing("doctor"), ["FAILED: doctor exited with 3", "no doctor today"]],
    ["a fixture", failing("run*"), ["no run* today"]],
    ["a job", failing("'start --test_input {}'"), ["no 'start --test_input {}' today"]],
    [
      "a deployed app",
      { "worker-tetra": PROGRAMS["worker-tetra"].replace('"hello":"image"', '"error":"broken"') },
      ["FAILED: the app's job has another result", '"error":"broken"'],
    ],
    ["the start", failing("start"), ["FAILED: the worker ended before", "no start today"]],
    [
      "the health check",
      { "bin/node": "echo ill; exit 1" },
      ["FAILED: the health check exited with 1", "ill", "listening"],
    ],
    [
      "the shutdown",
      { "worker-tetra": PROGRAMS["worker-tetra"].replace("exit 0", "exit 4") },
      ["FAILED: after SIGTERM the worker exited with 4", "listening"],
    ],
  ])("fails and shows the output of the failed step: %s", ([, changes, words]) =>
    Effect.gen(function* () {
      const { status, output } = yield* smoke(changes);
      assert.notStrictEqual(status, 0, output);
      for (const word of words) assert.include(output, word);
      assert.notInclude(output, "all steps passed");
    }).pipe(Effect.scoped),
  );
});

describe("the images", () => {
  it("silence pip's warning about root with a variable, because pip 22.0 does not have the flag", () => {
    const installs = textOf("docker/install.sh")
      .replaceAll("\\\n", "")
      .split("\n")
      .filter((line) => line.includes("-m pip install"));
    assert.isNotEmpty(installs);
    for (const line of installs) {
      assert.match(line, /^\s*PIP_ROOT_USER_ACTION=ignore /);
      assert.notInclude(line, "--root-user-action");
    }
  });

  it.each([
    ["docker/Dockerfile", /^# Recommended in the template.*(?:\n#.*)*/m],
    ["docker/Dockerfile-cpu", /^# Recommended in the template.*(?:\n#.*)*/m],
    ["docs/deployment.md", /^\d\. \*\*Template\*\*.*recommended.*(?:\n {3}- .*)*/m],
  ])("recommend timeouts for jobs and shutdown in %s", (file, paragraph) => {
    const [recommended = ""] = paragraph.exec(textOf(file)) ?? [];
    assert.include(recommended, "WORKER_JOB_TIMEOUT");
    assert.include(recommended, "WORKER_SHUTDOWN_GRACE");
  });
});
