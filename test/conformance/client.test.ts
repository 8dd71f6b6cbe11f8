import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Result } from "effect";

import type { FunctionResponse } from "../../src/domain/FunctionResponse.ts";
import { inputOf } from "../../src/domain/Job.ts";
import { RemoteExecutor } from "../../src/functions/RemoteExecutor.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { Workspace } from "../../src/workspace/Workspace.ts";
import { realEnvironment } from "../support/processes/RealWorker.ts";

const CLIENT = join(import.meta.dirname, "client.py");

/** The version of an interpreter, such as `3.12`; fails if it does not run. */
const versionOf = (python: string) =>
  Result.try(() =>
    execFileSync(python, ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim(),
  );

/** One interpreter of every installed version, on PATH or in pyenv's folder. */
const interpreters = (): ReadonlyArray<readonly [version: string, python: string]> => {
  const pyenv = join(
    process.env["PYENV_ROOT"] ?? join(process.env["HOME"] ?? "", ".pyenv"),
    "versions",
  );
  const candidates = [
    "python3",
    ...[14, 13, 12, 11, 10, 9].map((minor) => `python3.${minor}`),
    ...Result.getOrElse(
      Result.try(() => readdirSync(pyenv)),
      (): Array<string> => [],
    ).map((name) => join(pyenv, name, "bin", "python")),
  ];
  const found = new Map<string, string>();
  for (const python of candidates) {
    const version = versionOf(python);
    if (Result.isSuccess(version) && !found.has(version.success)) {
      const minor = Number(version.success.split(".")[1]);
      if (minor >= 9) found.set(version.success, python);
    }
  }
  return [...found];
};

describe("a client written in Python", () => {
  it.live.each(interpreters())(
    "with Python %s can send requests and load the results",
    ([, python]) => {
      const layer = Layer.mergeAll(RemoteExecutor.layer, Workspace.layer).pipe(
        Layer.provide(Environment.layerOf(realEnvironment({ WORKER_PYTHON: python }))),
        Layer.provide(NodeServices.layer),
      );
      return Effect.gen(function* () {
        const { python: own } = yield* (yield* Workspace).ready;
        const executor = yield* RemoteExecutor;
        const client = (command: string, input: string) =>
          execFileSync(own, ["-I", CLIENT, command], {
            encoding: "utf8",
            input,
            maxBuffer: 64 * 1024 * 1024,
          });
        const requests: ReadonlyArray<unknown> = JSON.parse(client("requests", ""));
        const responses: Array<FunctionResponse> = [];
        for (const request of requests) responses.push(yield* executor.execute(inputOf(request)));
        assert.strictEqual(
          client("check", JSON.stringify(responses)),
          `${requests.length} of ${requests.length} responses checked\n`,
        );
      }).pipe(Effect.provide(layer));
    },
  );
});
