import { Effect } from "effect";

import { realPython } from "../python/RealPython.ts";
import { startProcess } from "./ChildProcess.ts";

const LOCK_PROGRAM = `import fcntl, sys
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

/** A Python process that tries to lock a file as workers in Python do, and holds the lock until the scope closes. */
export const pythonLock = Effect.fnUntraced(function* (
  path: string,
  mode: "LOCK_EX" | "LOCK_SH" = "LOCK_EX",
) {
  const { wrote, signal, ended } = yield* startProcess(
    realPython,
    ["-c", LOCK_PROGRAM, path, mode],
    {
      hasOpenStdin: true,
    },
  );
  const [, state = ""] = yield* wrote(/^(held|busy)\n/);
  return { state, signal, ended };
});
