import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

import { assert } from "@effect/vitest";
import { Effect, Result } from "effect";

import { poll } from "../effects/Waiting.ts";
import { runProcess } from "./ChildProcess.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** The name of the CPU image that `buildImage` builds. */
export const IMAGE = "worker-tetra-infra:cpu";

/** Whether there is a Docker engine. */
export const hasDocker = Result.isSuccess(
  Result.try(() => execFileSync("docker", ["version"], { stdio: "ignore" })),
);

/** Why tests of images are skipped, for the end of the names of their suites; empty where there is an engine. */
export const skippedWithoutDocker = hasDocker ? "" : " (skipped: there is no Docker engine)";

export const docker = (...args: ReadonlyArray<string>) =>
  Effect.map(
    runProcess("docker", args, {
      directory: ROOT,
      environment: { ...process.env, DOCKER_BUILDKIT: "1" },
    }),
    ({ code, stdout, stderr }) => ({ code, output: stdout + stderr }),
  );

/** Builds the CPU image; for `beforeAll`. */
export const buildImage = async (): Promise<void> => {
  const options = "build --network host --platform linux/amd64 --file docker/Dockerfile-cpu";
  const { code, output } = await Effect.runPromise(
    docker(...options.split(" "), "--tag", IMAGE, "."),
  );
  assert.strictEqual(code, 0, output);
};

/** Starts a container that is removed with the scope; returns its id. */
export const container = (...args: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.map(docker("run", "--detach", "--network", "host", ...args), ({ code, output }) => {
      assert.strictEqual(code, 0, output);
      return output.trim();
    }),
    (id) => docker("rm", "--force", id),
  );

/** Waits until a Docker command prints this. */
export const until = (expected: string, ...args: ReadonlyArray<string>) =>
  poll(docker(...args), ({ output }) => output.trim() === expected);

/** Options of `docker run` that set environment variables. */
export const variables = (values: Readonly<Record<string, string>>): ReadonlyArray<string> =>
  Object.entries(values).flatMap(([name, value]) => ["--env", `${name}=${value}`]);
