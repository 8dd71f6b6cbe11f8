// Bundles the program into one file. Modules that few commands need are separate chunks, loaded on demand.

/** Effect's HTTP client only needs undici's agent and request functions. The rest would add 0.1 s to each start. */
const lightUndici = {
  name: "light-undici",
  transform: {
    filter: { id: /platform-node\/dist\/Undici\.js$/ },
    handler: () => `
      import Agent from "undici/lib/dispatcher/agent.js";
      import api from "undici/lib/api/index.js";
      import Dispatcher from "undici/lib/dispatcher/dispatcher.js";
      Object.assign(Dispatcher.prototype, api);
      // Node loads its own FormData on first use.
      export class FormData { constructor() { return new globalThis.FormData(); } }
      export { Agent };`,
  },
};

/**
 * An `import` of `node:http` reads all of its exports. Some of them load Node's implementation of `fetch`, which would
 * add 20 ms to each start. A missing export is an error of the build.
 */
const lightHttp = {
  name: "light-http",
  resolveId: {
    filter: { id: /^node:http$/ },
    handler: (_id, _importer, { kind }) => (kind === "require-call" ? null : "\0light-http"),
  },
  load: {
    filter: { id: /^\0light-http$/ },
    handler: () => `
      export const { createServer, IncomingMessage, request, ServerResponse } =
        process.getBuiltinModule("node:http");`,
  },
};

/** Parts of undici that the worker never runs: bodies of FormData, and the optional parser milo. */
const noUnusedUndici = {
  name: "no-unused-undici",
  load: {
    filter: { id: /undici\/lib\/(web\/fetch\/body|milo\/(no-)?simd)\.js$/ },
    handler: () => "",
  },
};

/** Modules that only some commands load. All others are in one file, because each file adds to the startup time. */
const ON_DEMAND = new RegExp(
  [
    "httpApiScalar|http-api|observability|NodeHttpServer|NodeWS|HttpRouter|FindMyWay|node_modules/ws/",
    "src/endpoint/|src/apps/LiveLaunch",
    "modes/(DeployedApi|GatewayRequests|LoadBalancerMode|LocalAppMode|LocalMode|LocalServing|LocalWork)",
  ].join("|"),
);

/**
 * Fails if each start would load the servers, because a module that only they need is missing above, or if the source
 * has a character for which V8 would keep it as two bytes a character.
 */
const lightStart = {
  name: "light-start",
  generateBundle(_options, bundle) {
    const { code, moduleIds } = bundle["worker-tetra.js"];
    const servers = moduleIds.filter((id) => /src\/endpoint\/(?!http\/Loopback)/.test(id));
    if (servers.length > 0) {
      this.error(`Each start would load ${servers[0]}: see ON_DEMAND in .rolldown.mjs.`);
    }
    const [wide] = /.{0,40}[^\0-\x7f].{0,40}/.exec(code) ?? [];
    if (wide !== undefined) this.error(`The bundle has a character that is not ASCII: ${wide}`);
  },
};

export default {
  input: { "worker-tetra": "src/main.ts" },
  platform: "node",
  logLevel: "warn",
  plugins: [lightUndici, lightHttp, noUnusedUndici, lightStart],
  output: {
    dir: "dist/lib",
    // With other characters, V8 would keep two bytes for each character of the source.
    charset: "ascii",
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js",
    codeSplitting: {
      groups: [{ name: "common", test: (id) => !ON_DEMAND.test(id) }],
    },
    // Names are not mangled, so that stack traces are readable.
    minify: { compress: true, mangle: false, codegen: { removeWhitespace: true } },
  },
};
