import type { LockUnavailable } from "../platform/locks/FileLock.ts";
import type { Venv } from "../venv/Venv.ts";
import type { VenvError } from "../venv/VenvBuilder.ts";
import type { LockTimeout } from "../venv/leases/LockTimeout.ts";

/** Everything that jobs need to run. */
export interface PreparedWorkspace {
  /** The current directory of user code. */
  readonly directory: string;
  /** The interpreter of the virtual environment. */
  readonly python: string;
  /** The folder of the virtual environment, `sys.prefix` in Python. */
  readonly prefix: string;
  /** Version of Python, such as `3.12.1`. */
  readonly version: string;
  /** The interpreter that the virtual environment was built from. */
  readonly basePython: string;
  /** Environment variables of jobs. */
  readonly environment: Readonly<Record<string, string>>;
  readonly venv: Venv;
  /**
   * Increases when packages are added to the active venv or another one is activated. A Python process that last saw a
   * lower number must invalidate its import caches before the next call.
   */
  readonly generation: number;
}

export type WorkspaceError = VenvError | LockTimeout | LockUnavailable;
