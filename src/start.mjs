// Entry point of `npm start` in a checkout. Debuggers and coverage use `main.ts` itself.
import "./preflight.mjs";
import { fileURLToPath, pathToFileURL } from "node:url";

import { cachedBundle } from "./cachedBundle.mjs";

const needsSources =
  process.env.NODE_V8_COVERAGE !== undefined ||
  [process.env.NODE_OPTIONS ?? "", ...process.execArgv].some((option) =>
    option.includes("--inspect"),
  );
const bundle = needsSources
  ? undefined
  : cachedBundle(fileURLToPath(new URL("..", import.meta.url)));
await import(bundle === undefined ? "./main.ts" : pathToFileURL(bundle).href);
