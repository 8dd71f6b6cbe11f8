import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Layer, Option } from "effect";
import { TestClock } from "effect/testing";

import { Pip } from "../../src/dependencies/pip/Pip.ts";
import { advanceUntilDone } from "../support/effects/Waiting.ts";
import { fakePackages, FULL, uvOf } from "../support/machine/FakePackages.ts";

const MARKER = ".worker-tetra-installing";

describe("PythonPackages", () => {
  it.effect("runs no program for a list that it knows to be satisfied", () => {
    const machine = fakePackages();
    return Effect.gen(function* () {
      const { ensure } = yield* machine.start();
      assert.isTrue(yield* ensure(["six==1"]));
      const one = yield* machine.start();
      assert.isFalse(yield* one.ensure(["six==1"]));
      const before = machine.lines.length;
      assert.isFalse(yield* one.ensure([" six==1"]));
      assert.strictEqual(machine.lines.length, before);
      assert.deepStrictEqual(machine.installs(), ["six==1"]);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect(
    "returns a new generation after its own or another worker's install, but not for a known list",
    () => {
      const machine = fakePackages();
      return Effect.gen(function* () {
        const [one, other] = [yield* machine.start(), yield* machine.start()];
        assert.strictEqual(yield* one.changesAfter([]), 0);
        assert.strictEqual(yield* one.changesAfter(["six==1"]), 1);
        assert.strictEqual(yield* one.changesAfter(["six==1"]), 1);
        assert.strictEqual(yield* one.changesAfter([]), 1);
        assert.strictEqual(yield* other.changesAfter([]), 0);
        assert.strictEqual(yield* other.changesAfter(["six==1"]), 1);
        assert.strictEqual(yield* other.changesAfter(["six==1"]), 1);
      }).pipe(Effect.scoped, machine.provide);
    },
  );

  it.effect(
    "returns the generation of an install that happened after the workspace was read",
    () => {
      const machine = fakePackages();
      return Effect.gen(function* () {
        const { packages, ready } = yield* machine.start();
        const before = yield* ready;
        const installed = yield* packages.ensure(["six==1"], before);
        assert.isAbove(installed.generation, before.generation);
        assert.deepStrictEqual(yield* packages.ensure(["six==1"], before), installed);
        assert.strictEqual(yield* packages.ensure(["six==1"], installed), installed);
      }).pipe(Effect.scoped, machine.provide);
    },
  );

  it.effect("remembers only the newest 64 lists of requirements", () => {
    const machine = fakePackages();
    return Effect.gen(function* () {
      const { changesAfter } = yield* machine.start();
      const list = (number: number) => changesAfter([`p${number}==1`]);
      for (let number = 0; number <= 64; number += 1) yield* list(number);
      assert.strictEqual(yield* list(64), 65);
      assert.strictEqual(yield* list(1), 65);
      assert.strictEqual(yield* list(0), 66);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("checks a known list again after another worker changed the venv", () => {
    const machine = fakePackages();
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      yield* ensure(["six==1"]);
      const { prefix } = yield* ready;
      machine.memory.uproot(`${prefix}/lib/python3.12/site-packages/six-1.dist-info`);
      yield* TestClock.adjust("2 seconds");
      assert.isTrue(yield* ensure(["six==1"]));
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("marks a venv during an install, and records its requirements", () => {
    let marked = false;
    const machine = fakePackages({
      programs: (line, memory) => {
        if (line.endsWith("-- six==1") && !line.includes("--dry-run")) {
          marked = memory.paths(new RegExp(MARKER)).length === 1;
        }
        return undefined;
      },
    });
    return Effect.gen(function* () {
      const { ensure, ready, venvs } = yield* machine.start();
      yield* ensure(["six==1"]);
      assert.isTrue(marked);
      assert.isEmpty(machine.memory.paths(new RegExp(MARKER)));
      assert.deepStrictEqual(yield* venvs.requirements((yield* ready).venv), ["six==1"]);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("installs a list once when jobs of two workers need it at the same time", () => {
    const machine = fakePackages();
    return Effect.gen(function* () {
      const [one, other] = [yield* machine.start(), yield* machine.start()];
      const installs = [one.ensure(["six==1"]), one.ensure(["six==1"]), other.ensure(["six==1"])];
      yield* advanceUntilDone(Effect.all(installs, { concurrency: "unbounded" }));
      assert.deepStrictEqual(machine.installs(), ["six==1"]);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("builds one venv for each of two conflicting lists, and switches between them", () => {
    const machine = fakePackages();
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      yield* ensure(["six==1"]);
      const first = (yield* ready).prefix;
      const list = () => machine.memory.paths(new RegExp(`^${first}/.*six-[^/]*$`));
      const before = list();
      assert.isFalse(yield* ensure(["six==2"]));
      const second = (yield* ready).prefix;
      assert.notStrictEqual(second, first);
      assert.deepStrictEqual(list(), before);
      for (const [version, prefix] of [
        [1, first],
        [2, second],
        [1, first],
      ] as const) {
        assert.isFalse(yield* ensure([`six==${version}`]));
        assert.strictEqual((yield* ready).prefix, prefix);
      }
      assert.strictEqual(machine.builds(), 2);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("adds packages to another existing venv rather than building a new one", () => {
    const machine = fakePackages();
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      yield* ensure(["six==1"]);
      const { prefix } = yield* ready;
      yield* ensure(["six==2", "abc==1"]);
      yield* ensure(["six==1", "attrs==3"]);
      assert.strictEqual((yield* ready).prefix, prefix);
      assert.strictEqual(machine.builds(), 2);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("rebuilds a venv after an interrupted install, with all of its requirements", () => {
    const machine = fakePackages();
    return Effect.gen(function* () {
      const one = yield* machine.start();
      yield* one.ensure(["six==1"]);
      const { prefix } = yield* one.ready;
      machine.memory.plant({ [`${prefix}/${MARKER}`]: "" });
      const other = yield* machine.start();
      yield* other.ensure(["abc==1"]);
      assert.notStrictEqual((yield* other.ready).prefix, prefix);
      assert.deepStrictEqual(machine.built().at(-1), ["six==1", "abc==1"]);
      assert.include(machine.warnings().join("\n"), "was interrupted");
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("does not switch back to a broken venv", () => {
    const machine = fakePackages();
    return Effect.gen(function* () {
      const { ensure, ready, rebuild } = yield* machine.start();
      yield* ensure(["six==1"]);
      // Another worker uses the venv, so that it is not deleted.
      yield* (yield* machine.start()).ready;
      const { prefix } = yield* rebuild("it does not start");
      yield* ensure(["six==1"]);
      assert.strictEqual((yield* ready).prefix, prefix);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("keeps using a venv that a failed install did not change", () => {
    let broken = true;
    const machine = fakePackages({
      programs: (line) =>
        broken && line.endsWith("-- six==1") && !line.includes("--dry-run")
          ? { exitCode: 1, output: "Failed to build six" }
          : undefined,
    });
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      const { prefix } = yield* ready;
      const error = yield* Effect.flip(ensure(["six==1"]));
      assert.include(
        error.message,
        "six==1 could not be installed: building it from source failed",
      );
      broken = false;
      assert.isTrue(yield* ensure(["six==1"]));
      assert.strictEqual((yield* ready).prefix, prefix);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("downloads packages that are not in the cache", () => {
    const machine = fakePackages({
      programs: (line) =>
        line.includes("--offline")
          ? { exitCode: 1, output: "cause: Network connectivity is disabled, but the data …" }
          : undefined,
    });
    return Effect.gen(function* () {
      const { ensure } = yield* machine.start();
      assert.isTrue(yield* ensure(["six==1"]));
      assert.lengthOf(machine.installs(), 2);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("replaces a venv that a failed install damaged", () => {
    let broken = true;
    const machine = fakePackages({
      volume: { isIntact: false },
      programs: (line, memory) => {
        if (!broken || !line.endsWith("--offline -- six==1")) return undefined;
        // Killed during the install: a second uv would accept the incomplete package.
        uvOf(line, memory);
        return { exitCode: 137, output: "" };
      },
    });
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      const { prefix } = yield* ready;
      yield* Effect.flip(ensure(["six==1"]));
      broken = false;
      yield* ensure(["six==1"]);
      assert.notStrictEqual((yield* ready).prefix, prefix);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("reports an unknown package without building a venv", () => {
    const machine = fakePackages();
    return Effect.gen(function* () {
      const { ensure } = yield* machine.start();
      const error = yield* Effect.flip(ensure(["unknown==1"]));
      assert.include(error.message, "unknown==1 could not be installed: no package index has it");
      assert.include(error.message, "was not found in the package registry");
      assert.strictEqual(machine.builds(), 1);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("retries without the cache when the disk is full", () => {
    const machine = fakePackages({
      programs: (line) => (line.includes("--offline") ? FULL : undefined),
    });
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      assert.isTrue(yield* ensure(["six==1"]));
      assert.isTrue((yield* ready).prefix.startsWith("/runpod-volume/"));
      assert.isDefined(machine.environments.at(-1)?.["UV_NO_CACHE"]);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("installs on the container's disk and logs a warning when the volume is full", () => {
    const machine = fakePackages({
      programs: (line) =>
        line.includes("/runpod-volume/") &&
        line.endsWith("-- six==1") &&
        !line.includes("--dry-run")
          ? FULL
          : undefined,
    });
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      yield* ensure(["six==1"]);
      assert.isTrue((yield* ready).prefix.startsWith("/own/"));
      assert.include(machine.warnings().join("\n"), "container's disk");
      assert.isFalse(yield* ensure(["six==1"]));
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("reports the disk usage when all disks are full", () => {
    const machine = fakePackages({
      programs: (line) => {
        return line.includes("six==1") && !line.includes("--dry-run") ? FULL : undefined;
      },
    });
    return Effect.gen(function* () {
      const { ensure } = yield* machine.start();
      const error = yield* Effect.flip(ensure(["six==1"]));
      assert.include(error.message, "the disk is full");
      assert.match(error.message, /\/runpod-volume\/runtimes\/default\/\.venvs: 2\.0 GB/);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect(
    "does not block jobs with satisfied requirements during an install of another job",
    () => {
      const machine = fakePackages();
      return Effect.gen(function* () {
        const begun = yield* Deferred.make<void>();
        const pip = Layer.succeed(
          Pip,
          Pip.of({
            changes: () => Effect.succeed([]),
            plan: (_workspace, _venv, [name]) =>
              Effect.succeed(name === "here==1" ? "nothing" : "additions"),
            install: () => Effect.andThen(Deferred.succeed(begun, undefined), Effect.never),
          }),
        );
        const { ensure } = yield* machine.start({ pip });
        assert.isFalse(yield* ensure(["here==1"]));
        const installing = yield* Effect.forkChild(ensure(["slow==1"]));
        yield* Deferred.await(begun);
        assert.isFalse(yield* ensure([]));
        assert.isFalse(yield* ensure(["here==1"]));
        assert.isUndefined(installing.pollUnsafe());
      }).pipe(Effect.scoped, machine.provide);
    },
  );

  it.effect("fails after WORKER_INSTALL_TIMEOUT", () => {
    const machine = fakePackages();
    const slow = Layer.succeed(
      Pip,
      Pip.of({
        changes: () => Effect.succeed([]),
        plan: () => Effect.succeed("additions"),
        install: () => Effect.never,
      }),
    );
    return Effect.gen(function* () {
      const { ensure } = yield* machine.start({ pip: slow });
      const error = yield* advanceUntilDone(Effect.flip(ensure(["six==1"])));
      assert.include(error.message, "WORKER_INSTALL_TIMEOUT");
      // No package was changed, so the venv is not marked.
      assert.isEmpty(machine.memory.paths(new RegExp(MARKER)));
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("does not show credentials in errors and logs", () => {
    const address = "six @ git+https://user:verysecrettoken1234@host/six.git";
    const machine = fakePackages({
      programs: (line) =>
        line.includes("verysecrettoken") && !line.includes("--dry-run")
          ? { exitCode: 1, output: "Failed to fetch it" }
          : undefined,
    });
    return Effect.gen(function* () {
      const { ensure } = yield* machine.start();
      const error = yield* Effect.flip(ensure([address]));
      assert.include(error.message, "host/six.git");
      const all = [error.message, ...machine.warnings(), ...machine.notices()].join("\n");
      assert.notInclude(all, "verysecrettoken1234");
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("tries another venv for packages of the image that were replaced in this one", () => {
    const machine = fakePackages();
    return Effect.gen(function* () {
      const { ensure, ready, venvs } = yield* machine.start();
      const { venv } = yield* ready;
      machine.memory.plant({ [`${venv.prefix}/image-packages/0`]: null });
      const error = yield* Effect.flip(ensure(["unknown==1"]));
      // A new venv was built and does not have the package either.
      assert.include(error.message, "no package index has it");
      assert.strictEqual(machine.builds(), 2);
      assert.isTrue(Option.isSome(yield* venvs.changedAt(venv)));
    }).pipe(Effect.scoped, machine.provide);
  });
});
