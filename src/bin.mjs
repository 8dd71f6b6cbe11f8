#!/usr/bin/env node
// Entry point of the bundled program. Plain JavaScript, so that the preflight check runs before the program is loaded.
import "./preflight.mjs";
import module from "node:module";
import { fileURLToPath } from "node:url";

// Caches compiled code next to the program if the folder is writable, so that the next start is faster.
module.enableCompileCache(fileURLToPath(new URL("./compile-cache", import.meta.url)));

await import("./lib/worker-tetra.js");
