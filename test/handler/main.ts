import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";

import { NodeRuntime } from "@effect/platform-node";
import { Console, Effect, Schema } from "effect";

import { Expectation, checkResponse } from "../../src/cli/requests/Expectation.ts";
import { FunctionResponse } from "../../src/domain/FunctionResponse.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const decodeFixture = Schema.decodeUnknownEffect(
  Schema.fromJsonString(Schema.Struct({ input: Schema.Unknown, expect: Expectation })),
);
const decodeResponse = Schema.decodeUnknownEffect(Schema.fromJsonString(FunctionResponse));

/** Runs one job with `--test_input` and checks the exit code and the response. */
const runFixture = Effect.fnUntraced(function* (path: string) {
  const { input, expect } = yield* decodeFixture(readFileSync(path, "utf8"));
  const { status, stdout } = spawnSync(
    process.execPath,
    ["src/main.ts", "start", "--test_input", JSON.stringify({ input })],
    { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] },
  );
  const response = yield* decodeResponse(stdout.trimEnd().split("\n").at(-1));
  // The response does not contain the repr of a pickled result; `run --check` compares it.
  const { result: _, ...rest } = expect;
  const verdict = checkResponse(rest, response, undefined);
  const expected = response.error === null ? 0 : 1;
  if (verdict._tag === "Skipped") return `- ${verdict.reason}`;
  if (status !== expected) return `✗ exit code ${status}, expected ${expected}`;
  return verdict._tag === "Met" ? "✓" : `✗ ${verdict.differences.join("; ")}`;
});

Effect.gen(function* () {
  for (const path of process.argv.slice(2)) {
    // A list of requests is for one process; `--test_input` runs one job.
    if (readFileSync(path, "utf8").trimStart().startsWith("[")) continue;
    const verdict = yield* runFixture(path);
    yield* Console.log(`${basename(path)}: ${verdict}`);
    if (verdict.startsWith("✗")) process.exitCode = 1;
  }
}).pipe(NodeRuntime.runMain);
