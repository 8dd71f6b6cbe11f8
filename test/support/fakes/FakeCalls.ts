import { Effect } from "effect";

import type { CallMeta } from "../../../src/runner/RunnerProtocol.ts";
import type { RunnerSession } from "../../../src/runner/RunnerSession.ts";
import { Exchanges } from "../../../src/runner/call/Exchanges.ts";
import { ImportWatch } from "../../../src/runner/imports/ImportWatch.ts";
import { prepared } from "./FakeRunner.ts";

/** The meta of a call of a function without arguments. */
export const callMeta: CallMeta = {
  kind: "function",
  name: "f",
  code: "",
  format: "cloudpickle",
  args: 0,
  kwargs: [],
  constructorArgs: 0,
  constructorKwargs: [],
  method: "",
  instanceId: null,
  createNewInstance: false,
  modules: {},
  limit: 1_000_000,
};

/** Information about an instance, as the runner sends it. */
export const instanceOf = (id: string) => ({
  id,
  class_name: "C",
  created_at: "2030-01-01T00:00:00Z",
  method_calls: 1,
  last_used: "2030-01-01T00:00:00Z",
});

/** A session with a process that is ready, does nothing and does not end. */
export const fakeSession = (changes: { readonly prefix?: string } = {}): RunnerSession => {
  const exchanges = new Exchanges();
  const imports = new ImportWatch();
  return {
    ready: {
      pid: 1,
      python: prepared.version,
      prefix: prepared.prefix,
      executable: prepared.python,
      cloudpickle: "3.1.2",
      ...changes,
    },
    process: {
      pid: 1,
      configure: () => {},
      send: () => {},
      attach: () => true,
      drain: () => {},
      interrupt: () => {},
      kill: () => {},
      end: Effect.void,
      bootOutput: () => "",
    },
    exit: () => undefined,
    begin: (_meta, _blobs, listener) => exchanges.begin(listener),
    imports,
    importWhileIdle: ({ modules }) => imports.begin(modules.map(({ name }) => name)),
    cancel: () => {},
    finish: (exchange) => exchanges.finish(exchange),
    redirectIdleOutput: (receive) => exchanges.redirectIdleOutput(receive),
    consumeIdleOutput: () => exchanges.consumeIdleOutput(),
  };
};
