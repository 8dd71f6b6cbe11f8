import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";

import { NodeRuntime } from "@effect/platform-node";
import { Console, Effect, Schema } from "effect";

import { Expectation, judge } from "../../src/cli/requests/Expectation.ts";
import { FunctionResponse } from "../../src/domain/FunctionResponse.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const decodeFixture = Schema.decodeUnknownEffect(
  Schema.fromJsonString(Schema.Struct({ input: Schema.Unknown, expect: Expectation })),
);
const decodeAnswer = Schema.decodeUnknownEffect(Schema.fromJsonString(FunctionResponse));

/** One job as RunPod's own workers are tried out: by `--test_input`, judged by exit code and answer. */
const tryOut = Effect.fnUntraced(function* (path: string) {
  const { input, expect } = yield* decodeFixture(readFileSync(path, "utf8"));
  const { status, stdout } = spawnSync(
    process.execPath,
    ["src/main.ts", "start", "--test_input", JSON.stringify({ input })],
    { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] },
  );
  const answer = yield* decodeAnswer(stdout.trimEnd().split("\n").at(-1));
  // The repr of a pickled result is not in the answer; `run --check` looks at that.
  const { result: _, ...rest } = expect;
  const verdict = judge(rest, answer, undefined);
  const expected = answer.error === null ? 0 : 1;
  if (verdict._tag === "Skipped") return `- ${verdict.reason}`;
  if (status !== expected) return `✗ exit code ${status}, expected ${expected}`;
  return verdict._tag === "Met" ? "✓" : `✗ ${verdict.differences.join("; ")}`;
});

Effect.gen(function* () {
  for (const path of process.argv.slice(2)) {
    // A list is a sequence for one process, and RunPod hands out one job.
    if (readFileSync(path, "utf8").trimStart().startsWith("[")) continue;
    const verdict = yield* tryOut(path);
    yield* Console.log(`${basename(path)}: ${verdict}`);
    if (verdict.startsWith("✗")) process.exitCode = 1;
  }
}).pipe(NodeRuntime.runMain);
