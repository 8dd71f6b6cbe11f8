import { tmpdir } from "node:os";

import { assert, describe, it } from "@effect/vitest";
import { Duration, Effect, Exit, Metric, Option, Scope } from "effect";
import { TestClock } from "effect/testing";

import { advanceUntilDone } from "../support/effects/Waiting.ts";
import type { Fault } from "../support/files/FaultyFileSystem.ts";
import { fakeMachine } from "../support/machine/FakeMachine.ts";

const VOLUME = "/runpod-volume/runtimes/default";
const LINK = `${VOLUME}/.venv`;
const LOCK = `${VOLUME}/.initialization.lock`;
const MODELS = "/runpod-volume/huggingface-cache/hub";

type Machine = ReturnType<typeof fakeMachine>;

/** Holds for a volume at any time: nothing is incomplete, and the link points to a complete venv. */
const assertConsistent = (machine: Machine) =>
  Effect.gen(function* () {
    const shown = machine.memory.show();
    assert.isEmpty(machine.memory.paths(/\.building-|\.removing-|\/\.venv-|\.write-probe/));
    const { venvs, volume } = yield* machine.worker();
    const place = Option.getOrThrow(yield* volume.shared);
    const complete = (yield* venvs.all(place)).map(({ prefix }) => prefix);
    assert.deepStrictEqual(
      machine.memory.paths(/^\/runpod-volume\/runtimes\/default\/\.venvs\/[^/]+[0-9]$/).toSorted(),
      complete.toSorted(),
    );
    const link = machine.linkAt(LINK);
    if (link !== undefined) assert.include(complete, `${VOLUME}/${link}`);
    else assert.notProperty(shown, LINK);
  });

const count = (name: string) =>
  Effect.map(Metric.value(Metric.counter(name, { incremental: true })), (state) =>
    Number(state.count),
  );

/** Another worker holds a lock until the scope closes. */
const holdLock = Effect.fnUntraced(function* (machine: Machine, path: string) {
  machine.memory.plant({ [path]: "" });
  const held = yield* machine.locks.tryLock(path, "exclusive");
  yield* Option.getOrThrow(held).write("another worker");
});

describe("Workspace", () => {
  it.effect("is prepared on the volume on first use, with everything that jobs need", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const worker = yield* machine.worker();
      assert.isEmpty(machine.lines);
      const prepared = yield* worker.ready;
      assert.deepInclude(prepared, {
        directory: VOLUME,
        version: "3.12.1",
        basePython: "/usr/bin/python3.12",
        prefix: prepared.venv.prefix,
        python: `${prepared.prefix}/bin/python`,
      });
      assert.strictEqual(prepared.environment["VIRTUAL_ENV"], prepared.prefix);
      assert.strictEqual(prepared.environment["UV_CACHE_DIR"], "/runpod-volume/.uv-cache");
      assert.strictEqual(`${VOLUME}/${machine.linkAt(LINK)}`, prepared.prefix);
      assert.isEmpty(machine.warnings());
      yield* assertConsistent(machine);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("is not checked on disk again for a second", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const worker = yield* machine.worker();
      const prepared = yield* worker.ready;
      machine.memory.uproot(prepared.prefix);
      yield* TestClock.adjust(Duration.millis(999));
      assert.strictEqual(yield* worker.ready, prepared);
      yield* TestClock.adjust(Duration.millis(1));
      const rebuilt = yield* worker.ready;
      assert.strictEqual(machine.builds(), 2);
      assert.property(machine.memory.show(), rebuilt.python);
      assert.strictEqual(`${VOLUME}/${machine.linkAt(LINK)}`, rebuilt.prefix);
      yield* assertConsistent(machine);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("stays the same while nothing changes on disk", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const worker = yield* machine.worker();
      const prepared = yield* worker.ready;
      const lines = machine.lines.length;
      for (let turn = 0; turn < 5; turn += 1) {
        yield* TestClock.adjust(Duration.hours(1));
        assert.strictEqual(yield* worker.ready, prepared);
      }
      assert.lengthOf(machine.lines, lines);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("is prepared once for concurrent jobs", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const { ready } = yield* machine.worker();
      const all = yield* advanceUntilDone(
        Effect.all([ready, ready, ready], { concurrency: "unbounded" }),
      );
      assert.lengthOf([...new Set(all)], 1);
      assert.strictEqual(machine.builds(), 1);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("is built with uv's cache on the volume, unless the user has set another", () =>
    Effect.gen(function* () {
      for (const [variables, expected] of [
        [{}, "/runpod-volume/.uv-cache"],
        [{ UV_CACHE_DIR: "/mine" }, undefined],
        [{ RUNPOD_VOLUME_PATH: "/none" }, undefined],
      ] as const) {
        const machine = fakeMachine();
        yield* machine.provide(Effect.flatMap(machine.worker(variables), ({ ready }) => ready));
        const caches = machine.environments.map(({ UV_CACHE_DIR }) => UV_CACHE_DIR);
        assert.deepStrictEqual(caches, [expected, expected]);
      }
    }).pipe(Effect.scoped),
  );

  it.effect("is reused by a second worker, which starts no program", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const created = yield* count("workspace_venv_created");
      const reused = yield* count("workspace_venv_reused");
      const first = yield* (yield* machine.worker()).ready;
      const lines = machine.lines.length;
      const second = yield* (yield* machine.worker()).ready;
      assert.deepStrictEqual(second, first);
      assert.lengthOf(machine.lines, lines);
      assert.strictEqual(yield* count("workspace_venv_created"), created + 1);
      assert.strictEqual(yield* count("workspace_venv_reused"), reused + 1);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("is built by one of many workers that start together", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const workers = yield* Effect.all(Array.from({ length: 8 }, () => machine.worker()));
      const all = yield* advanceUntilDone(
        Effect.forEach(workers, ({ ready }) => ready, { concurrency: "unbounded" }),
      );
      assert.strictEqual(machine.builds(), 1);
      assert.lengthOf([...new Set(all.map(({ prefix }) => prefix))], 1);
      assert.isTrue(
        machine.notices().some((line) => line.includes("initialized by another worker")),
      );
      assert.isEmpty(machine.warnings());
      assert.isEmpty(machine.locks.held(LOCK));
      yield* assertConsistent(machine);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("is on the container's disk, with one warning, if the volume stays locked", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      yield* holdLock(machine, LOCK);
      const worker = yield* machine.worker();
      const prepared = yield* advanceUntilDone(worker.ready);
      assert.strictEqual(prepared.directory, "/own");
      assert.notProperty(machine.memory.show(), LINK);
      yield* TestClock.adjust(Duration.minutes(1));
      assert.strictEqual(yield* worker.ready, prepared);
      const [warning = ""] = machine.warnings();
      assert.lengthOf(machine.warnings(), 1);
      assert.include(warning, `${LOCK} has been locked by another worker for more than 30 seconds`);
      assert.include(warning, "another worker)");
      assert.include(warning, "Falling back to /own on the container's disk");
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("needs no lock if it is complete", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const { prefix } = yield* (yield* machine.worker()).ready;
      yield* holdLock(machine, LOCK);
      assert.strictEqual((yield* (yield* machine.worker()).ready).prefix, prefix);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect(
    "is on the container's disk, with one warning, if locks have no effect on the volume",
    () => {
      const machine = fakeMachine({ locks: { withoutEffect: /^\/runpod-volume/ } });
      return Effect.gen(function* () {
        assert.strictEqual((yield* (yield* machine.worker()).ready).directory, "/own");
        assert.lengthOf(machine.warnings(), 1);
        assert.include(machine.warnings()[0], "flock has no effect on this file system");
        yield* assertConsistent(machine);
      }).pipe(Effect.scoped, machine.provide);
    },
  );

  it.effect("is on the container's disk, with one warning, if the volume is read-only", () => {
    const machine = fakeMachine({ planted: { "/runpod-volume/data": "" } });
    return Effect.gen(function* () {
      const worker = yield* machine.worker({}, [
        { method: "writeFile", code: "EROFS", path: /^\/runpod-volume\// },
      ]);
      assert.strictEqual((yield* worker.ready).directory, "/own");
      assert.lengthOf(machine.warnings(), 1);
      assert.include(machine.warnings()[0], "mounted read-only (EROFS)");
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect(
    "stays on the volume if the container's disk is read-only, with an error that says so",
    () => {
      const machine = fakeMachine();
      return Effect.gen(function* () {
        const worker = yield* machine.worker({}, [
          { method: "makeDirectory", code: "EROFS", path: /^\/own$/ },
        ]);
        yield* worker.ready;
        const error = yield* Effect.flip(worker.fallBackToOwnDisk(["one"]));
        assert.strictEqual(
          error.message,
          "/own can't be created: it is mounted read-only (EROFS). Mount it writable.",
        );
        assert.strictEqual((yield* worker.ready).directory, VOLUME);
      }).pipe(Effect.scoped, machine.provide);
    },
  );

  it.effect("warns of a read-only disk if there is no folder for temporary files", () => {
    const temporary = tmpdir();
    const machine = fakeMachine({ planted: { [temporary]: null } });
    return Effect.gen(function* () {
      const worker = yield* machine.worker({}, [
        { method: "access", code: "EROFS", path: new RegExp(`^${temporary}$`) },
        { method: "makeDirectory", code: "EROFS", path: /\/\.tmp$/ },
      ]);
      yield* worker.ready;
      assert.deepStrictEqual(machine.warnings(), [
        `${temporary} can't be written to: it is mounted read-only (EROFS). Mount it writable.`,
      ]);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("links the models that RunPod caches if there is no volume", () => {
    const machine = fakeMachine({ planted: { [`${MODELS}/models--org--one`]: null } });
    return Effect.gen(function* () {
      const prepared = yield* (yield* machine.worker()).ready;
      assert.strictEqual(prepared.directory, "/own");
      const hub = prepared.environment["HF_HUB_CACHE"];
      assert.strictEqual(machine.linkAt(`${hub}/models--org--one`), `${MODELS}/models--org--one`);
      assert.isEmpty(machine.warnings());
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("fails without Python, and does not try another disk", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const worker = yield* machine.worker({ WORKER_PYTHON: "python3.14" });
      const error = yield* Effect.flip(worker.ready);
      assert.strictEqual(error._tag, "PythonNotFound");
      assert.isEmpty(machine.warnings());
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("fails with the reason if no disk is writable", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      const worker = yield* machine.worker({}, [
        { method: "makeDirectory", code: "EACCES", path: /^\/(own|runpod-volume)/ },
      ]);
      const error = yield* Effect.flip(worker.ready);
      assert.include(error.message, "/own can't be created: access is denied (EACCES)");
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect(
    "has a new virtual environment if another host died while it removed the current one",
    () => {
      const machine = fakeMachine();
      return Effect.gen(function* () {
        const first = yield* Effect.scoped(Effect.flatMap(machine.worker(), ({ ready }) => ready));
        yield* holdLock(machine, `${first.prefix}.lock`);
        const second = yield* (yield* machine.worker()).ready;
        assert.deepInclude(second, { directory: VOLUME });
        assert.strictEqual(second.venv.number, 2);
        assert.strictEqual((yield* (yield* machine.worker()).ready).prefix, second.prefix);
        assert.isEmpty(machine.warnings());
      }).pipe(Effect.scoped, machine.provide);
    },
  );

  it.effect(
    "is on the container's disk if no virtual environment on the volume can be used",
    () => {
      const machine = fakeMachine({ locks: { held: /^\/runpod-volume\/.*-\d+\.lock$/ } });
      return Effect.gen(function* () {
        const worker = yield* machine.worker();
        assert.strictEqual((yield* worker.ready).directory, "/own");
        assert.lengthOf(machine.warnings(), 1);
        assert.include(
          machine.warnings()[0],
          "can't be used: another worker was removing it in each of 5 attempts",
        );
      }).pipe(Effect.scoped, machine.provide);
    },
  );

  describe("on a volume with a fault", () => {
    const faults: ReadonlyArray<Fault> = (
      ["makeDirectory", "writeFile", "rename", "symlink"] as const
    ).flatMap((method) => {
      const path = /^\/runpod-volume\//;
      return [1, 2, 3].flatMap((from) => [
        { method, from, path, code: "ENOSPC" },
        { method, from, path, code: "EDQUOT" },
        { method, from, path, code: "EIO", times: 1 },
      ]);
    });

    it.effect.each(faults)(
      "is prepared, leaves nothing incomplete and warns at most once: %j",
      (fault) => {
        const machine = fakeMachine();
        return Effect.gen(function* () {
          const worker = yield* machine.worker({}, [fault]);
          const prepared = yield* advanceUntilDone(worker.ready);
          assert.isTrue(yield* worker.venvs.isComplete(prepared.venv));
          if (fault.from === 1) assert.isAbove(worker.faultsMet(), 0);
          if (prepared.directory === "/own") {
            assert.lengthOf(machine.warnings(), 1);
            assert.include(machine.warnings()[0], fault.code);
          }
          yield* assertConsistent(machine);
          // The next worker, without faults, uses the volume.
          const next = yield* (yield* machine.worker()).ready;
          assert.strictEqual(next.directory, VOLUME);
          yield* assertConsistent(machine);
        }).pipe(Effect.scoped, machine.provide);
      },
    );

    it.effect(
      "is on the container's disk, and no second environment is built, if the volume can't be read",
      () => {
        const machine = fakeMachine();
        return Effect.gen(function* () {
          yield* (yield* machine.worker()).ready;
          const worker = yield* machine.worker({}, [
            { method: "readDirectory", code: "ESTALE", path: /\.venvs$/, from: 1, times: 1 },
          ]);
          assert.strictEqual((yield* worker.ready).directory, "/own");
          assert.include(machine.warnings()[0], "ESTALE");
          const next = yield* (yield* machine.worker()).ready;
          assert.match(next.prefix, /-1$/);
        }).pipe(Effect.scoped, machine.provide);
      },
    );

    it.effect("uses the volume again after the fault has passed", () => {
      const machine = fakeMachine();
      return Effect.gen(function* () {
        const worker = yield* machine.worker({}, [
          { method: "stat", code: "ESTALE", path: /pyvenv|python$/, from: 1, times: 1 },
        ]);
        yield* (yield* machine.worker()).ready;
        assert.strictEqual((yield* worker.ready).directory, VOLUME);
        yield* assertConsistent(machine);
      }).pipe(Effect.scoped, machine.provide);
    });
  });

  it.effect("moves a folder `.venv` of another program aside", () => {
    const machine = fakeMachine({ planted: { [`${LINK}/bin/python3`]: "theirs" } });
    return Effect.gen(function* () {
      yield* (yield* machine.worker()).ready;
      assert.isDefined(machine.linkAt(LINK));
      assert.lengthOf(machine.memory.paths(/\.venv\.replaced-[^/]+\/bin\/python3$/), 1);
    }).pipe(Effect.scoped, machine.provide);
  });

  describe("creates the link /app/.venv", () => {
    it.effect.each([
      ["there is none", { "/app": null }],
      ["there is another link", { "/app/.venv": { link: "/gone" } }],
    ] as const)("if %s", ([, planted]) => {
      const machine = fakeMachine({ planted });
      return Effect.gen(function* () {
        yield* (yield* machine.worker()).ready;
        assert.strictEqual(machine.linkAt("/app/.venv"), LINK);
        yield* (yield* machine.worker()).ready;
        assert.strictEqual(machine.linkAt("/app/.venv"), LINK);
        assert.isEmpty(machine.memory.paths(/^\/app\/.venv./));
      }).pipe(Effect.scoped, machine.provide);
    });

    it.effect("but never replaces a folder", () => {
      const machine = fakeMachine({ planted: { "/app/.venv/bin/python": "theirs" } });
      return Effect.gen(function* () {
        yield* (yield* machine.worker()).ready;
        assert.strictEqual(machine.memory.show()["/app/.venv/bin/python"], "theirs");
        assert.deepStrictEqual(machine.warnings(), [
          "/app/.venv is not a link: leaving it unchanged",
        ]);
      }).pipe(Effect.scoped, machine.provide);
    });

    it.effect("only if /app exists", () => {
      const machine = fakeMachine();
      return Effect.gen(function* () {
        yield* (yield* machine.worker()).ready;
        assert.isEmpty(machine.memory.paths(/^\/app/));
      }).pipe(Effect.scoped, machine.provide);
    });

    it.effect("and only warns if that fails", () => {
      const machine = fakeMachine({ planted: { "/app": null } });
      return Effect.gen(function* () {
        const worker = yield* machine.worker({}, [
          { method: "symlink", code: "EROFS", path: /^\/app/ },
        ]);
        yield* worker.ready;
        assert.lengthOf(machine.warnings(), 1);
        assert.include(machine.warnings()[0], "/app/.venv can't be created as a link");
      }).pipe(Effect.scoped, machine.provide);
    });

    it.effect("and leaves /app/.venv as it is if /app is the workspace", () => {
      const machine = fakeMachine({ planted: { "/app": null } });
      return Effect.gen(function* () {
        const worker = yield* machine.worker({
          RUNPOD_VOLUME_PATH: "/none",
          WORKER_WORKSPACE_PATH: "/app",
        });
        const { prefix } = yield* worker.ready;
        assert.strictEqual(`/app/${machine.linkAt("/app/.venv")}`, prefix);
        assert.isEmpty(machine.warnings());
      }).pipe(Effect.scoped, machine.provide);
    });
  });

  describe("that is rebuilt", () => {
    it.effect(
      "has a new number and the same requirements, and the old venv is not used again",
      () => {
        const machine = fakeMachine();
        return Effect.gen(function* () {
          const rebuilds = yield* count("workspace_venv_rebuilt");
          const worker = yield* machine.worker();
          const first = yield* worker.ready;
          yield* worker.venvs.endInstall(first.venv, ["numpy"]).pipe(Effect.ignore);
          const second = yield* worker.rebuild("it fails where its base does not");
          assert.strictEqual(second.venv.number, 2);
          assert.deepStrictEqual(yield* worker.venvs.requirements(second.venv), ["numpy"]);
          assert.strictEqual(yield* worker.ready, second);
          assert.strictEqual((yield* (yield* machine.worker()).ready).prefix, second.prefix);
          assert.notProperty(machine.memory.show(), first.prefix);
          assert.strictEqual(yield* count("workspace_venv_rebuilt"), rebuilds + 1);
          assert.isTrue(machine.warnings()[0]?.includes("it fails where its base does not"));
          yield* assertConsistent(machine);
        }).pipe(Effect.scoped, machine.provide);
      },
    );

    it.effect("keeps the old venv while another worker uses it", () => {
      const machine = fakeMachine();
      return Effect.gen(function* () {
        const other = yield* Scope.make();
        const held = yield* Effect.flatMap(machine.worker(), ({ ready }) => ready).pipe(
          Scope.provide(other),
        );
        const worker = yield* machine.worker();
        yield* worker.ready;
        yield* worker.rebuild("evidence");
        assert.property(machine.memory.show(), held.python);
        yield* Scope.close(other, Exit.void);
        yield* worker.rebuild("more evidence");
        assert.notProperty(machine.memory.show(), held.prefix);
        yield* assertConsistent(machine);
      }).pipe(Effect.scoped, machine.provide);
    });

    it.effect("uses the venv that another worker has rebuilt", () => {
      const machine = fakeMachine();
      return Effect.gen(function* () {
        const [one, two] = [yield* machine.worker(), yield* machine.worker()];
        yield* one.ready;
        yield* two.ready;
        const rebuilt = yield* one.rebuild("evidence");
        assert.strictEqual((yield* two.rebuild("the same evidence")).prefix, rebuilt.prefix);
        assert.strictEqual(machine.builds(), 2);
      }).pipe(Effect.scoped, machine.provide);
    });
  });

  describe("keeps several virtual environments", () => {
    it.effect("and activates one with more requirements, and the first one again", () => {
      const machine = fakeMachine();
      return Effect.gen(function* () {
        const worker = yield* machine.worker();
        const first = yield* worker.ready;
        const second = yield* worker.extend(["numpy>=2"]);
        assert.strictEqual(yield* worker.ready, second);
        assert.deepStrictEqual(yield* worker.venvs.requirements(second.venv), ["numpy>=2"]);
        assert.deepStrictEqual(
          (yield* worker.listVenvs).map(({ prefix }) => prefix),
          [second.prefix, first.prefix],
        );
        assert.strictEqual(
          Option.getOrThrow(yield* worker.activate(first.venv)).prefix,
          first.prefix,
        );
        assert.strictEqual((yield* worker.ready).prefix, first.prefix);
        machine.memory.uproot(second.prefix);
        assert.deepStrictEqual(yield* worker.activate(second.venv), Option.none());
        assert.strictEqual((yield* worker.ready).prefix, first.prefix);
      }).pipe(Effect.scoped, machine.provide);
    });

    it.effect("and removes the oldest unused ones if there are too many", () => {
      const machine = fakeMachine();
      return Effect.gen(function* () {
        const old = yield* machine.worker({ WORKER_PYTHON: "python3.11" });
        const theirs = yield* old.ready;
        const holder = yield* machine.worker();
        const held = yield* holder.ready;
        const worker = yield* machine.worker();
        yield* worker.ready;
        for (let turn = 0; turn < 10; turn += 1) yield* worker.extend([`package${turn}`]);
        const numbers = (yield* worker.listVenvs).map(({ number }) => number);
        // 3 was still leased by the worker when it built 11, and 1 is leased by the holder.
        assert.deepStrictEqual(numbers, [11, 10, 9, 8, 7, 6, 5, 4, 3, 1]);
        assert.property(machine.memory.show(), held.python);
        assert.property(machine.memory.show(), theirs.python);
      }).pipe(Effect.scoped, machine.provide);
    });
  });

  describe("generation", () => {
    it.effect("increases when packages are added to the active venv", () => {
      const machine = fakeMachine();
      return Effect.gen(function* () {
        const worker = yield* machine.worker();
        const first = yield* worker.ready;
        const second = yield* worker.packagesAdded(first);
        assert.deepStrictEqual(second, { ...first, generation: first.generation + 1 });
        assert.strictEqual(yield* worker.ready, second);
        yield* TestClock.adjust(Duration.minutes(1));
        assert.strictEqual(yield* worker.ready, second);
      }).pipe(Effect.scoped, machine.provide);
    });

    it.effect("increases when another venv is activated, even one that was active before", () => {
      const machine = fakeMachine();
      return Effect.gen(function* () {
        const worker = yield* machine.worker();
        const first = yield* worker.ready;
        const second = yield* worker.extend(["numpy>=2"]);
        const third = Option.getOrThrow(yield* worker.activate(first.venv));
        const fourth = yield* worker.rebuild("evidence");
        const all = [first, second, third, fourth].map(({ generation }) => generation);
        assert.deepStrictEqual(all, [1, 2, 3, 4]);
      }).pipe(Effect.scoped, machine.provide);
    });

    it.effect("of the active venv does not change when packages are added to another venv", () => {
      const machine = fakeMachine();
      return Effect.gen(function* () {
        const worker = yield* machine.worker();
        const first = yield* worker.ready;
        const second = yield* worker.extend(["numpy>=2"]);
        const changed = yield* worker.packagesAdded(first);
        assert.isAbove(changed.generation, second.generation);
        assert.strictEqual(yield* worker.ready, second);
      }).pipe(Effect.scoped, machine.provide);
    });
  });

  it.effect("holds no locks after its worker has ended", () => {
    const machine = fakeMachine();
    return Effect.gen(function* () {
      yield* Effect.scoped(Effect.flatMap(machine.worker(), ({ ready }) => ready));
      assert.isEmpty(machine.locks.paths());
      assert.property(machine.memory.show(), LOCK);
    }).pipe(machine.provide);
  });
});
