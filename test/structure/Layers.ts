/**
 * The folders of `src`, from the top down. Files may only import from their own folder and from lower ones. `queue` and
 * `endpoint` are below everything that depends on Python, so they work for any handler. The lint rules are generated
 * from this list, and `npm run structure` prints the imports between the folders.
 */
export const LAYERS = [
  "cli",
  "functions",
  "apps",
  "health",
  "runner",
  "dependencies",
  "workspace",
  "venv",
  "endpoint",
  "queue",
  "platform",
  "settings",
  "domain",
] as const;
