import type { LockTimeout } from "../platform/BlockingLock.ts";
import type { LockUnavailable } from "../platform/FileLock.ts";
import type { Venv } from "../venv/Venv.ts";
import type { VenvError } from "../venv/VenvBuilder.ts";

/** Where jobs run, and with what. */
export interface PreparedWorkspace {
  /** The current directory of user code. */
  readonly directory: string;
  /** The interpreter of the virtual environment. */
  readonly python: string;
  /** The virtual environment, as Python has it in `sys.prefix`. */
  readonly prefix: string;
  /** Version of Python, such as `3.12.1`. */
  readonly version: string;
  /** The interpreter that the virtual environment was built from. */
  readonly basePython: string;
  readonly environment: Readonly<Record<string, string>>;
  /** The virtual environment itself. */
  readonly venv: Venv;
  /**
   * Increases when packages were added to the current virtual environment or another one was activated. A Python
   * process that has seen a lower number has to invalidate its import caches before the next call.
   */
  readonly generation: number;
}

export type WorkspaceError = VenvError | LockTimeout | LockUnavailable;
