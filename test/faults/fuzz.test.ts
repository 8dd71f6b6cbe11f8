import { assert, describe, it } from "@effect/vitest";
import { Effect, Predicate, Schema } from "effect";

import { FunctionResponse } from "../../src/domain/FunctionResponse.ts";
import { RemoteExecutor } from "../../src/functions/RemoteExecutor.ts";
import { realWorker } from "../support/processes/RealWorker.ts";
import { IS_FULL } from "../support/values/FullLength.ts";
import { seededRandom, type SeededRandom } from "../support/values/Random.ts";

/** The number of requests. */
const ROUNDS = IS_FULL ? 5000 : 300;

/** The seed, which is part of the test name: the same seed creates the same requests. */
const SEED = Number(process.env["FUZZ_SEED"] ?? Date.now() % 1_000_000);

const FUNCTION = {
  function_name: "f",
  function_code: "def f(a=1, *b, **c):\n    print('called')\n    return [a, len(b), len(c)]\n",
  // A cloudpickle of 42.
  args: ["gAVLKi4="],
  kwargs: { key: "gAVLKi4=" },
};

const CLASS = {
  execution_type: "class",
  class_name: "C",
  class_code:
    "class C:\n    def __init__(self, n=0):\n        self.n = n\n    def m(self):\n        return self.n\n",
  method_name: "m",
  instance_id: "C_1",
  create_new_instance: false,
  constructor_args: ["gAVLKi4="],
};

const PLAIN = { ...FUNCTION, args: [{ a: [1, null] }], kwargs: {}, serialization_format: "json" };

const ODD: ReadonlyArray<unknown> = [
  null,
  true,
  -1,
  1e308,
  "",
  "\0",
  "\ud800",
  "é".repeat(5000),
  [],
  {},
  [[[[[[[[]]]]]]]],
  ["gAV"],
  ["!!!"],
  { "": null },
  "../../etc/passwd",
  "--option",
  "__import__('os')",
];

const mutated = ({ below }: SeededRandom): unknown => {
  const oneOf = <A>(items: ReadonlyArray<A>): A | undefined => items[below(items.length)];
  const request: Record<string, unknown> = { ...oneOf<object>([FUNCTION, CLASS, PLAIN]) };
  for (let count = 1 + below(3); count > 0; count -= 1) {
    const field = oneOf(Object.keys(request)) ?? "args";
    const value = request[field];
    switch (below(6)) {
      case 0:
        delete request[field];
        break;
      case 1:
        request[field] = oneOf(ODD);
        break;
      case 2:
        request[oneOf(["dependencies", "modules", "args", "unknown", "execution_type"]) ?? ""] =
          oneOf(ODD);
        break;
      case 3:
        if (typeof value !== "string") break;
        request[field] = value.slice(0, below(value.length + 1));
        break;
      case 4: {
        if (typeof value !== "string") break;
        const at = below(value.length + 1);
        const what = String.fromCharCode(below(0x2_00));
        request[field] = `${value.slice(0, at)}${what}${value.slice(at)}`;
        break;
      }
      default:
        // Random bytes in place of a pickle.
        request["args"] = [
          Buffer.from(Array.from({ length: 1 + below(40) }, () => below(256))).toString("base64"),
        ];
    }
  }
  return below(30) === 0 ? oneOf(ODD) : request;
};

const decode = Schema.decodeUnknownEffect(FunctionResponse);

describe("randomly changed requests", () => {
  it.live(
    `each get a response with a result or an error (seed ${SEED})`,
    () =>
      Effect.gen(function* () {
        const executor = yield* RemoteExecutor;
        const random = seededRandom(SEED);
        for (let round = 0; round < ROUNDS; round += 1) {
          const request = mutated(random);
          const response = yield* executor.execute(request);
          const about = `seed ${SEED}, round ${round}: ${JSON.stringify(request)}`;
          yield* Effect.orDie(decode(JSON.parse(JSON.stringify(response))));
          assert.strictEqual(response.success, !Predicate.isString(response.error), about);
          if (!response.success) assert.isNotEmpty(response.error, about);
        }
        const good = yield* executor.execute(FUNCTION);
        assert.isTrue(good.success, String(good.error));
      }).pipe(Effect.provide(realWorker({ WORKER_JOB_TIMEOUT: "10", WORKER_CANCEL_GRACE: "1" }))),
    IS_FULL ? 1_200_000 : 120_000,
  );
});
