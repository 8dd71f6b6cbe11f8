import { assert, describe, it } from "@effect/vitest";
import { Context, Deferred, Effect, Layer, Option } from "effect";
import { TestClock } from "effect/testing";

import { PythonPackages } from "../../src/dependencies/PythonPackages.ts";
import { Pip } from "../../src/dependencies/pip/Pip.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { advanceUntilDone } from "../support/effects/Waiting.ts";
import { fakeMachine, type MachineOptions } from "../support/fakes/FakeMachine.ts";
import type { Outcome } from "../support/fakes/FakePrograms.ts";
import type { MemoryFileSystem } from "../support/files/MemoryFileSystem.ts";

const NOT_FOUND: Outcome = {
  exitCode: 1,
  output:
    "Because unknown was not found in the package registry, your requirements are unsatisfiable.",
};
const FULL: Outcome = {
  exitCode: 2,
  output: "failed to write: No space left on device (os error 28)",
};

/** uv with an index that has every version of every package but `unknown`. */
const uvOf = (line: string, memory: MemoryFileSystem): Outcome | undefined => {
  const words = line.split(" ");
  if (!line.startsWith("uv pip install")) return undefined;
  const python = words[words.indexOf("--python") + 1] ?? "";
  const folder = `${python.slice(0, -"/bin/python".length)}/lib/python3.12/site-packages`;
  const isDryRun = words.includes("--dry-run");
  const actions: Array<string> = [];
  for (const requirement of words.slice(words.indexOf("--") + 1)) {
    const [name = "", version = "9"] = requirement.split(/[=>]=/);
    if (name === "unknown") return NOT_FOUND;
    const records = memory.paths(new RegExp(`^${folder}/${name}-[^/]*\\.dist-info$`));
    const wanted = `${folder}/${name}-${version}.dist-info`;
    if (records.includes(wanted) || (records.length > 0 && !requirement.includes("=="))) continue;
    actions.push(...records.map(() => "uninstalled"), "installed");
    if (isDryRun) continue;
    for (const record of records) memory.uproot(record);
    memory.plant({ [wanted]: null });
  }
  return isDryRun ? JSON.stringify({ changes: actions.map((action) => ({ action })) }) : "";
};

const setUp = (options: MachineOptions = {}) => {
  const machine = fakeMachine({
    ...options,
    programs: (line, memory) => options.programs?.(line, memory) ?? uvOf(line, memory),
  });
  const installs = () =>
    machine.lines
      .filter((line) => line.startsWith("uv pip install") && !line.includes("--dry-run"))
      .map((line) => line.slice(line.indexOf(" -- ") + 4))
      .filter((list) => !list.startsWith("cloudpickle"));
  return {
    ...machine,
    /** What uv was asked to install, for real. */
    installs,
    /** What came with new environments. */
    built: () =>
      machine.lines
        .filter((line) => line.includes(" -- cloudpickle"))
        .map((line) => line.split(" ").slice(line.split(" ").indexOf("--") + 3)),
    dryRuns: () => machine.lines.filter((line) => line.includes("--dry-run")).length,
    /** A worker of its own process. */
    start: Effect.fnUntraced(function* (pip: Layer.Layer<Pip> | undefined = undefined) {
      const worker = yield* machine.worker();
      const context = yield* Layer.build(
        PythonPackages.layerNoDeps.pipe(
          Layer.provide(pip ?? Pip.layerNoDeps),
          Layer.provide([worker.services, Environment.layerOf({ WORKER_INSTALL_TIMEOUT: "9" })]),
        ),
      );
      const packages = Context.get(context, PythonPackages);
      const satisfy = (list: ReadonlyArray<string>) =>
        Effect.flatMap(worker.ready, (prepared) => packages.ensure(list, prepared));
      return {
        ...worker,
        packages,
        /** How often the packages of the workspace have changed after the first time that it was ready. */
        seen: (list: ReadonlyArray<string>) =>
          Effect.map(satisfy(list), ({ generation }) => generation - 1),
        /** Whether packages were added to an environment. */
        ensure: (list: ReadonlyArray<string>) =>
          Effect.suspend(() => {
            const before = installs().length;
            return Effect.map(satisfy(list), () => installs().length > before);
          }),
      };
    }),
  };
};

const MARKER = ".worker-tetra-installing";

describe("PythonPackages", () => {
  it.effect("looks once at what is satisfied, and after that starts nothing", () => {
    const machine = setUp();
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
    "counts an install, and packages that another worker installed, but not those that it knows",
    () => {
      const machine = setUp();
      return Effect.gen(function* () {
        const [one, other] = [yield* machine.start(), yield* machine.start()];
        assert.strictEqual(yield* one.seen([]), 0);
        assert.strictEqual(yield* one.seen(["six==1"]), 1);
        assert.strictEqual(yield* one.seen(["six==1"]), 1);
        assert.strictEqual(yield* one.seen([]), 1);
        assert.strictEqual(yield* other.seen([]), 0);
        assert.strictEqual(yield* other.seen(["six==1"]), 1);
        assert.strictEqual(yield* other.seen(["six==1"]), 1);
      }).pipe(Effect.scoped, machine.provide);
    },
  );

  it.effect(
    "returns the generation of an install that came after the workspace was looked up",
    () => {
      const machine = setUp();
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

  it.effect("remembers a limited number of lists of requirements, the newest ones", () => {
    const machine = setUp();
    return Effect.gen(function* () {
      const { seen } = yield* machine.start();
      const list = (number: number) => seen([`p${number}==1`]);
      for (let number = 0; number <= 64; number += 1) yield* list(number);
      assert.strictEqual(yield* list(64), 65);
      assert.strictEqual(yield* list(1), 65);
      assert.strictEqual(yield* list(0), 66);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("looks again when somebody else changed the environment", () => {
    const machine = setUp();
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      yield* ensure(["six==1"]);
      const { prefix } = yield* ready;
      machine.memory.uproot(`${prefix}/lib/python3.12/site-packages/six-1.dist-info`);
      yield* TestClock.adjust("2 seconds");
      assert.isTrue(yield* ensure(["six==1"]));
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect(
    "marks an environment while it is being changed, and keeps the list of what was asked",
    () => {
      let marked = false;
      const machine = setUp({
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
    },
  );

  it.effect("installs once what jobs of two workers ask for at the same time", () => {
    const machine = setUp();
    return Effect.gen(function* () {
      const [one, other] = [yield* machine.start(), yield* machine.start()];
      const asked = [one.ensure(["six==1"]), one.ensure(["six==1"]), other.ensure(["six==1"])];
      yield* advanceUntilDone(Effect.all(asked, { concurrency: "unbounded" }));
      assert.deepStrictEqual(machine.installs(), ["six==1"]);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("puts what would change a package into another environment, each only once", () => {
    const machine = setUp();
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

  it.effect("takes another environment that has room for it before it builds one", () => {
    const machine = setUp();
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

  it.effect("builds anew what a killed install has left, with all that was in it", () => {
    const machine = setUp();
    return Effect.gen(function* () {
      const one = yield* machine.start();
      yield* one.ensure(["six==1"]);
      const { prefix } = yield* one.ready;
      machine.memory.plant({ [`${prefix}/${MARKER}`]: "" });
      const other = yield* machine.start();
      yield* other.ensure(["abc==1"]);
      assert.notStrictEqual((yield* other.ready).prefix, prefix);
      assert.deepStrictEqual(machine.built().at(-1), ["six==1", "abc==1"]);
      assert.include(machine.warnings().join("\n"), "cut off");
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("never goes back to an environment that turned out to be broken", () => {
    const machine = setUp();
    return Effect.gen(function* () {
      const { ensure, ready, rebuild } = yield* machine.start();
      yield* ensure(["six==1"]);
      // Somebody else runs from it, so that it stays.
      yield* (yield* machine.start()).ready;
      const { prefix } = yield* rebuild("it does not start");
      yield* ensure(["six==1"]);
      assert.strictEqual((yield* ready).prefix, prefix);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("leaves an environment in use that a failed install has not touched", () => {
    let broken = true;
    const machine = setUp({
      programs: (line) =>
        broken && line.endsWith("-- six==1") && !line.includes("--dry-run")
          ? { exitCode: 1, output: "Failed to build six" }
          : undefined,
    });
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      const { prefix } = yield* ready;
      const error = yield* Effect.flip(ensure(["six==1"]));
      assert.include(error.message, "six==1 could not be installed: it has to be built here");
      broken = false;
      assert.isTrue(yield* ensure(["six==1"]));
      assert.strictEqual((yield* ready).prefix, prefix);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("asks the network for what is not in the cache", () => {
    const machine = setUp({
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

  it.effect("does not trust an environment that a failed install has touched", () => {
    let broken = true;
    const machine = setUp({
      programs: (line, memory) => {
        if (!broken || !line.endsWith("--offline -- six==1")) return undefined;
        // Killed half-way: asked again, uv would be content with what is there.
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

  it.effect("says what is unknown at once, and builds nothing for it", () => {
    const machine = setUp();
    return Effect.gen(function* () {
      const { ensure } = yield* machine.start();
      const error = yield* Effect.flip(ensure(["unknown==1"]));
      assert.include(error.message, "unknown==1 could not be installed: no index has it");
      assert.include(error.message, "was not found in the package registry");
      assert.strictEqual(machine.builds(), 1);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("tries without the cache when there is no space", () => {
    const machine = setUp({
      programs: (line) => (line.includes("--offline") ? FULL : undefined),
    });
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      assert.isTrue(yield* ensure(["six==1"]));
      assert.isTrue((yield* ready).prefix.startsWith("/runpod-volume/"));
      assert.isDefined(machine.environments.at(-1)?.["UV_NO_CACHE"]);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("goes to the container's own disk when the volume stays full, and says so", () => {
    const machine = setUp({
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
      assert.include(machine.warnings().join("\n"), "container's own disk");
      assert.isFalse(yield* ensure(["six==1"]));
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("tells how full everything is when there is no space anywhere", () => {
    const machine = setUp({
      programs: (line) => {
        if (line.startsWith("du ")) return "2000000\tfolder";
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
    "keeps no job waiting for an install of another one unless it needs packages too",
    () => {
      const machine = setUp();
      return Effect.gen(function* () {
        const begun = yield* Deferred.make<void>();
        const pip = Layer.succeed(
          Pip,
          Pip.of({
            plan: (_workspace, _venv, [name]) =>
              Effect.succeed(name === "here==1" ? "nothing" : "additions"),
            install: () => Effect.andThen(Deferred.succeed(begun, undefined), Effect.never),
          }),
        );
        const { ensure } = yield* machine.start(pip);
        assert.isFalse(yield* ensure(["here==1"]));
        const installing = yield* Effect.forkChild(ensure(["slow==1"]));
        yield* Deferred.await(begun);
        assert.isFalse(yield* ensure([]));
        assert.isFalse(yield* ensure(["here==1"]));
        assert.isUndefined(installing.pollUnsafe());
      }).pipe(Effect.scoped, machine.provide);
    },
  );

  it.effect("gives up after the time that is allowed", () => {
    const machine = setUp();
    const slow = Layer.succeed(
      Pip,
      Pip.of({ plan: () => Effect.succeed("additions"), install: () => Effect.never }),
    );
    return Effect.gen(function* () {
      const { ensure } = yield* machine.start(slow);
      const error = yield* advanceUntilDone(Effect.flip(ensure(["six==1"])));
      assert.include(error.message, "WORKER_INSTALL_TIMEOUT");
      // Nothing was changed, so nothing is in doubt.
      assert.isEmpty(machine.memory.paths(new RegExp(MARKER)));
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("never shows credentials", () => {
    const address = "six @ git+https://user:verysecrettoken1234@host/six.git";
    const machine = setUp({
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

  it.effect("finds in another environment what came with the image and was replaced here", () => {
    const machine = setUp();
    return Effect.gen(function* () {
      const { ensure, ready, venvs } = yield* machine.start();
      const { venv } = yield* ready;
      machine.memory.plant({ [`${venv.prefix}/image-packages/0`]: null });
      const error = yield* Effect.flip(ensure(["unknown==1"]));
      // Not even a new one has it: it was tried, and the answer is the same.
      assert.include(error.message, "no index has it");
      assert.strictEqual(machine.builds(), 2);
      assert.isTrue(Option.isSome(yield* venvs.changedAt(venv)));
    }).pipe(Effect.scoped, machine.provide);
  });
});
