import { NodeServices } from "@effect/platform-node";
import { assert, describe, it, layer } from "@effect/vitest";
import { Effect, Layer, Result } from "effect";

import { JobListener, listenerOf } from "../../src/domain/JobEvents.ts";
import { Programs } from "../../src/platform/programs/Programs.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { bestOf, measured } from "../support/effects/EventLoop.ts";
import { keptLogs } from "../support/fakes/CapturedLogs.ts";
import { call, realEnvironment, realWorker } from "../support/processes/RealWorker.ts";
import { ATTACKS } from "../support/values/Attacks.ts";
import { IS_FULL } from "../support/values/FullLength.ts";

/** The maximum time that the event loop may be blocked, in milliseconds. */
const MAX_GAP = 100;

/** The bytes of very long output, and the maximum growth of memory. */
const FLOOD = (IS_FULL ? 300 : 32) * 1024 * 1024;
const GROWTH = 64 * 1024 * 1024;

/** The bytes of one attack. */
const ATTACK = (IS_FULL ? 8 * 1024 : 256) * 1024;

const SECRETS = {
  RUNPOD_API_KEY: "rpa_Zq81mXw3Vt60bLk9Ys",
  UV_INDEX_URL: "https://me:password-of-an-index@host/",
};

/** Writes a text repeatedly to a descriptor, then exits with a code. */
const WRITER = `import os, sys
unit = sys.argv[1].encode("latin1").decode("unicode_escape").encode("latin1")
size, code, descriptor = map(int, sys.argv[2:])
piece = unit * (65536 // len(unit))
while size > 0:
    size -= os.write(descriptor, piece[:size])
sys.exit(code)`;

const escaped = (unit: string) =>
  [...Buffer.from(unit, "latin1")]
    .map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`)
    .join("");

const logs = keptLogs();

const programs = Layer.provide(Programs.layer, Environment.layerOf(realEnvironment(SECRETS))).pipe(
  Layer.merge(NodeServices.layer),
  Layer.provideMerge(logs.layer),
);

/** Runs a program that writes so many bytes; stdout also goes to the log. Returns its outcome. */
const writing = (unit: string, size: number, code: number, descriptor = 1) =>
  Effect.flatMap(Programs, ({ run }) =>
    run("python3", ["-c", WRITER, escaped(unit), ...[size, code, descriptor].map(String)], {
      live: { stream: "stdout", name: "build" },
    }),
  ).pipe(Effect.result);

describe("the output of a program", () => {
  it.live.each(Object.entries(ATTACKS))(
    "does not block the event loop when it consists of %s",
    ([, unit]) =>
      Effect.gen(function* () {
        const { value, longestGap } = yield* bestOf(3, writing(unit, ATTACK, 1), MAX_GAP);
        assert.isTrue(Result.isFailure(value));
        assert.isBelow(longestGap, MAX_GAP);
      }).pipe(Effect.provide(programs)),
  );

  const floods = {
    "has no line ends": "x",
    "has many lines": "a line of a build, and another word\n",
    "consists of NULs": "\0",
    "is not UTF-8": "\xff\xfe\xe2\x82",
  };
  it.live.each(Object.entries(floods).slice(0, IS_FULL ? undefined : 2))(
    "is read completely with little memory when it is very long and %s",
    ([, unit]) =>
      Effect.gen(function* () {
        yield* writing(unit, 1024 * 1024, 0);
        const { value, longestGap, growth } = yield* measured(writing(unit, FLOOD, 1));
        const failure = Result.isFailure(value) ? value.failure : undefined;
        assert.strictEqual(failure?.exitCode, 1);
        assert.include(failure?.output, "bytes of output left out here");
        assert.isBelow(failure?.output.length ?? 0, 200_000);
        assert.isBelow(growth, GROWTH);
        assert.isBelow(longestGap, MAX_GAP);
      }).pipe(Effect.provide(programs)),
  );

  it.live("on stderr takes little memory", () =>
    Effect.gen(function* () {
      yield* writing("x", 1024 * 1024, 0, 2);
      const { value, growth } = yield* measured(writing("x", 4 * FLOOD, 1, 2));
      const failure = Result.isFailure(value) ? value.failure : undefined;
      assert.include(failure?.output, "bytes of output left out here");
      // It is read faster than garbage is collected.
      assert.isBelow(growth, 2 * GROWTH);
    }).pipe(Effect.provide(programs)),
  );

  it.live("on stdout is kept up to a limit when the program succeeds", () =>
    Effect.gen(function* () {
      const { value, growth } = yield* measured(writing("y\n", FLOOD, 0));
      const output = Result.getOrElse(value, () => "");
      assert.isBelow(output.length, 10_000_000);
      assert.include(output, "bytes of output left out here");
      assert.isBelow(growth, GROWTH);
      assert.isBelow(logs.notices().length, 100_000);
    }).pipe(Effect.provide(programs)),
  );
});

layer(realWorker({ ...SECRETS, WORKER_JOB_TIMEOUT: "100" }), { excludeTestServices: true })(
  "the output of a job",
  (it) => {
    const source = `import os
def f(unit, size, fails):
    unit = unit.encode("latin1")
    piece = unit * (65536 // len(unit))
    left = size
    while left > 0:
        left -= os.write(1, piece[:left])
    if fails:
        raise ValueError((unit * (size // len(unit) + 1)).decode("latin1"))
`;
    const listening = Effect.provideService(JobListener, listenerOf({ OutputWritten: () => {} }));

    it.effect.each(Object.entries(ATTACKS))(
      "or its error does not block the event loop when it consists of %s",
      ([, unit]) =>
        Effect.gen(function* () {
          const job = call(source, "f", [unit, ATTACK, true]).pipe(listening);
          const { value, longestGap } = yield* bestOf(3, job, MAX_GAP);
          assert.isFalse(value.success);
          assert.isBelow(longestGap, MAX_GAP);
        }),
    );

    it.effect("takes little memory when it is very long", () =>
      Effect.gen(function* () {
        yield* call(source, "f", ["x", 4 * 1024 * 1024, false]).pipe(listening);
        const job = call(source, "f", ["x", FLOOD, false]).pipe(listening);
        const { value, longestGap, growth } = yield* measured(job);
        assert.isTrue(value.success);
        assert.isBelow(growth, GROWTH);
        assert.isBelow(longestGap, MAX_GAP);
      }),
    );
  },
);
