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

/** Modules that only some commands load. All others are in one file, because each file adds to the startup time. */
const ON_DEMAND = new RegExp(
  [
    "httpApiScalar|http-api|observability|NodeHttpServer|NodeWS|HttpRouter|FindMyWay|node_modules/ws/",
    "src/endpoint/|src/apps/LiveLaunch",
    "modes/(DeployedApi|GatewayRequests|LoadBalancerMode|LocalAppMode|LocalMode|LocalServing|LocalWork)",
  ].join("|"),
);

/** Fails if each start would load the servers, because a module that only they need is missing above. */
const noServers = {
  name: "no-servers",
  generateBundle(_options, bundle) {
    const servers = bundle["worker-tetra.js"].moduleIds.filter((id) =>
      /src\/endpoint\/(?!http\/Loopback)/.test(id),
    );
    if (servers.length > 0) {
      this.error(`Each start would load ${servers[0]}: see ON_DEMAND in .rolldown.mjs.`);
    }
  },
};

export default {
  input: { "worker-tetra": "src/main.ts" },
  platform: "node",
  logLevel: "warn",
  plugins: [lightUndici, lightHttp, noServers],
  output: {
    dir: "dist/lib",
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js",
    codeSplitting: {
      groups: [{ name: "common", test: (id) => !ON_DEMAND.test(id) }],
    },
    // Names are not mangled, so that stack traces are readable.
    minify: { compress: true, mangle: false, codegen: { removeWhitespace: true } },
  },
};
