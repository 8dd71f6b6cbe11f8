import { spawn } from "node:child_process";

import { Effect } from "effect";

const HOLD = `import fcntl, sys
file = open(sys.argv[1], "a+")
try:
    fcntl.flock(file, getattr(fcntl, sys.argv[2]) | fcntl.LOCK_NB)
except BlockingIOError:
    print("busy", flush=True)
    sys.exit()
file.seek(0)
file.truncate()
file.write("a Python worker")
file.flush()
print("held", flush=True)
sys.stdin.read()
`;

/** A Python process that asks for a lock as workers written in Python do, and keeps it until the scope closes. */
export const pythonLock = (path: string, mode: "LOCK_EX" | "LOCK_SH" = "LOCK_EX") =>
  Effect.acquireRelease(
    Effect.callback<{
      readonly word: string;
      readonly signal: (name: NodeJS.Signals) => Effect.Effect<void>;
      readonly ended: Effect.Effect<void>;
    }>((resume) => {
      // Its stdin ends with this process, and so does it.
      const child = spawn("python3", ["-c", HOLD, path, mode], {
        stdio: ["pipe", "pipe", "inherit"],
      });
      const ended = new Promise<void>((resolve) => {
        child.once("close", () => resolve());
      });
      child.once("error", (error) => resume(Effect.die(error)));
      child.stdout.once("data", (bytes: Buffer) =>
        resume(
          Effect.succeed({
            word: bytes.toString().trim(),
            signal: (name) => Effect.sync(() => void child.kill(name)),
            ended: Effect.promise(() => ended),
          }),
        ),
      );
    }),
    ({ signal, ended }) => Effect.andThen(signal("SIGKILL"), ended),
  );
