import { spawn } from "node:child_process";
import { join } from "node:path";
import { Duplex } from "node:stream";

import { Effect, Result } from "effect";

import { FrameType } from "../../src/runner/RunnerProtocol.ts";
import { encode, FrameReader } from "../../src/runner/process/Frames.ts";

const SCRIPT = join(import.meta.dirname, "baseline.py");

/** A Python process without a worker that exchanges frames on a Unix socket, until the scope closes. */
export const bareProcess = (python: string, args: ReadonlyArray<string>) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() =>
        spawn(python, [SCRIPT, ...args], { stdio: ["ignore", "inherit", "inherit", "pipe"] }),
      ),
      (child) => Effect.sync(() => child.kill("SIGKILL")),
    ),
    (child) => {
      const control = child.stdio[3];
      if (!(control instanceof Duplex)) throw new Error("there is no socket on descriptor 3");
      return control;
    },
  );

/** Sends a frame and returns the base64 of the blob in the echo. */
export const echoes = Effect.fnUntraced(function* (python: string, mode: "echo" | "pickle") {
  const control = yield* bareProcess(python, [mode]);
  const reader = new FrameReader(() => Number.MAX_SAFE_INTEGER);
  let resume: ((blob: string) => void) | undefined;
  control.on("data", (bytes: Buffer) => {
    for (const frame of reader.read(bytes)) {
      resume?.(Result.getOrThrow(frame).value?.text() ?? "");
    }
  });
  return (meta: object, blob: Uint8Array) =>
    Effect.callback<string>((done) => {
      resume = (received) => done(Effect.succeed(received));
      control.cork();
      const value = blob.byteLength === 0 ? null : "cloudpickle";
      for (const part of encode(FrameType.call, 1, { ...meta, value }, [blob])) control.write(part);
      control.uncork();
    });
});
