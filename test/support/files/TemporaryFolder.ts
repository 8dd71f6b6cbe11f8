import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Effect } from "effect";

/** Creates an empty folder whose path contains no links. For tests without a scope, which must remove it. */
export const makeTemporaryFolder = (): string =>
  realpathSync(mkdtempSync(join(tmpdir(), "worker-tetra-test-")));

/** Removes a folder with its content. Retries, since a killed process may still be writing there. */
export const removeFolder = (path: string): void =>
  rmSync(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });

/** An empty folder whose path contains no links. It is removed when the scope closes. */
export const temporaryFolder = Effect.acquireRelease(Effect.sync(makeTemporaryFolder), (path) =>
  Effect.sync(() => removeFolder(path)),
);
