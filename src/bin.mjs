#!/usr/bin/env node
// Entry point of the bundled program. Plain JavaScript, so that the preflight check runs before the program is loaded.
import "./preflight.mjs";
import module from "node:module";
import { fileURLToPath } from "node:url";
import v8 from "node:v8";

// Set before the cache of compiled code is opened, whose key contains the flags. Each saves memory of an idle worker:
v8.setFlagsFromString("--no-wasm-tier-up"); // 13 MB, which malloc keeps after optimizing undici's HTTP parser
v8.setFlagsFromString("--no-wasm-dynamic-tiering");
v8.setFlagsFromString("--semi-space-growth-factor=1"); // 10 MB of young objects that are garbage
v8.setFlagsFromString("--invocation-count-for-maglev=2000"); // 2 MB: only functions of many jobs are optimized

// Caches compiled code next to the program if the folder is writable, so that the next start is faster.
module.enableCompileCache(fileURLToPath(new URL("./compile-cache", import.meta.url)));

await import("./lib/worker-tetra.js");
