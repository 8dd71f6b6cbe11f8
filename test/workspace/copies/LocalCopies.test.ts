import { tmpdir } from "node:os";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { backgroundRuns, packedMachine } from "../../support/machine/PackedMachine.ts";

const site = (prefix: string) => `${prefix}/lib/python3.12/site-packages`;

describe("LocalCopies", () => {
  it.effect("are used by the next worker, and removed when it ends", () =>
    Effect.gen(function* () {
      const machine = yield* packedMachine();
      const copy = yield* Effect.gen(function* () {
        const { ready } = yield* machine.start();
        const { prefix, directory } = yield* ready;
        assert.match(prefix, /^\/tmp\//);
        assert.match(directory, /^\/runpod-volume\//);
        assert.property(machine.memory.show(), `${site(prefix)}/six-1.dist-info`);
        return prefix;
      }).pipe(Effect.scoped);
      assert.notProperty(machine.memory.show(), copy);
    }),
  );

  it.effect("are not made of a venv that has changed since it was packed", () =>
    Effect.gen(function* () {
      const machine = yield* packedMachine();
      machine.memory.plant({
        [`${machine.prefix}/.worker-tetra-complete`]: '["six==1", "idna==3"]',
      });
      const { ready } = yield* machine.start();
      assert.strictEqual((yield* ready).prefix, machine.prefix);
    }).pipe(Effect.scoped),
  );

  it.effect("are not made if they would leave too little space to jobs", () =>
    Effect.gen(function* () {
      const machine = yield* packedMachine({ freeSpace: 2e9 });
      const { ready } = yield* machine.start();
      assert.strictEqual((yield* ready).prefix, machine.prefix);
      assert.isEmpty(machine.memory.paths(/^\/tmp\/./));
    }).pipe(Effect.scoped),
  );

  it.effect("are not made if the folder for temporary files is read-only", () =>
    Effect.gen(function* () {
      const machine = yield* packedMachine();
      const isReadOnly = {
        method: "access",
        path: new RegExp(`^${tmpdir()}$`),
        code: "EROFS",
      } as const;
      const { ready } = yield* machine.start({ faults: [isReadOnly] });
      assert.strictEqual((yield* ready).prefix, machine.prefix);
      assert.isEmpty(machine.memory.paths(/^\/tmp\/./));
    }).pipe(Effect.scoped),
  );

  it.effect("are not made from a damaged archive: the venv is used, and packed again", () =>
    Effect.gen(function* () {
      const machine = yield* packedMachine();
      for (const archive of machine.memory.paths(/\.package-archives\/.*\.tar$/)) {
        machine.memory.plant({ [archive]: "damaged" });
      }
      const used = yield* Effect.gen(function* () {
        const { ready } = yield* machine.start();
        const { prefix } = yield* ready;
        assert.isEmpty(machine.memory.paths(/^\/tmp\/./));
        yield* backgroundRuns;
        return prefix;
      }).pipe(Effect.scoped, machine.provide);
      assert.strictEqual(used, machine.prefix);
      assert.lengthOf(machine.warnings(), 1);
      const next = yield* (yield* machine.start()).ready;
      assert.match(next.prefix, /^\/tmp\//);
    }).pipe(Effect.scoped),
  );
});
