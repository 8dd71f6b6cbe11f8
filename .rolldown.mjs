// The program in one file, with what few need beside it: it is loaded when a command wants it.

/** Of undici Effect's client needs the agent and the calls on it; the rest would cost a tenth of a second a start. */
const lightUndici = {
  name: "light-undici",
  transform: {
    filter: { id: /platform-node\/dist\/Undici\.js$/ },
    handler: () => `
      import Agent from "undici/lib/dispatcher/agent.js";
      import api from "undici/lib/api/index.js";
      import Dispatcher from "undici/lib/dispatcher/dispatcher.js";
      Object.assign(Dispatcher.prototype, api);
      // Node loads its own when it is named.
      export class FormData { constructor() { return new globalThis.FormData(); } }
      export { Agent };`,
  },
};

/** What only some commands load; all else is one file, for files cost time at each start. */
const SELDOM =
  /httpApiScalar|http-api|observability|src\/endpoint|modes\/(LocalMode|LoadBalancerMode)|NodeHttpServer|NodeWS|HttpRouter|FindMyWay|node_modules\/ws\//;

export default {
  input: { "worker-tetra": "src/main.ts" },
  platform: "node",
  logLevel: "warn",
  plugins: [lightUndici],
  output: {
    dir: "dist/lib",
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js",
    codeSplitting: {
      groups: [{ name: "common", test: (id) => !SELDOM.test(id) }],
    },
    // Names stay whole: they are in stack traces.
    minify: { compress: true, mangle: false, codegen: { removeWhitespace: true } },
  },
};
