#!/usr/bin/env node
// The start of the bundled program. Plain JavaScript: what this Node can't run is said before it is loaded.
import "./preflight.mjs";
import module from "node:module";
import { fileURLToPath } from "node:url";

// Compiled code is kept beside the program, where that can be written: the next start is faster by it.
module.enableCompileCache(fileURLToPath(new URL("./compile-cache", import.meta.url)));

await import("./lib/worker-tetra.js");
