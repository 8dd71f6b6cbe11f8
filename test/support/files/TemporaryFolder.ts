import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Effect } from "effect";

/** Makes an empty folder and returns its path, which has no links in it. For tests without a Scope, which remove it. */
export const makeTemporaryFolder = (): string =>
  realpathSync(mkdtempSync(join(tmpdir(), "worker-tetra-test-")));

/** Removes a folder with all that is in it, even if a killed process still writes there for a moment. */
export const removeFolder = (path: string): void =>
  rmSync(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });

/** An empty folder, without links in its path, that is removed when the scope closes. */
export const temporaryFolder = Effect.acquireRelease(Effect.sync(makeTemporaryFolder), (path) =>
  Effect.sync(() => removeFolder(path)),
);
