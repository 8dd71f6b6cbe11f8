/**
 * The folders of `src`, from the top down: a file imports from its own folder and from folders further down. `queue`
 * and `endpoint` are below everything that knows of Python, so they work for any handler. The lint rules are made from
 * this list, and `npm run structure` prints the imports between the folders.
 */
export const LAYERS = [
  "cli",
  "functions",
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
