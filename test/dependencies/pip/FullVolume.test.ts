import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import type { Fault } from "../../support/files/FaultyFileSystem.ts";
import type { MachineOptions } from "../../support/machine/FakeMachine.ts";
import { fakePackages, uvOf } from "../../support/machine/FakePackages.ts";

const MARKER = /\.worker-tetra-(?:installing|condemned)/;

const isInstall = (line: string, packages: string) =>
  line.startsWith("uv pip install") &&
  !line.includes("--dry-run") &&
  line.endsWith(`-- ${packages}`);

/** A volume that gets full when uv installs six there, although uv reports success. */
const fullInInstall = (options: MachineOptions = {}) => {
  let isFull = false;
  let isEmpty = false;
  const machine = fakePackages({
    ...options,
    programs: (line, memory) => {
      if (isInstall(line, "six==1") && line.includes("/runpod-volume/")) {
        isFull = true;
        isEmpty = true;
        memory.plant({
          "/runpod-volume/.uv-cache/archive-v0/new/six-1.dist-info": null,
          "/runpod-volume/.uv-cache/archive-v0/old/abc-1.dist-info": null,
        });
      }
      return options.programs?.(line, memory);
    },
    volume: {
      fault: () => (isFull ? "EDQUOT" : undefined),
      emptyFile: (folder) => (isEmpty ? `${folder}/six.py` : undefined),
      ...options.volume,
    },
  });
  return {
    ...machine,
    free: () => {
      isFull = false;
      isEmpty = false;
    },
  };
};

describe("an install on a full volume", () => {
  it.effect("that left empty files is undone, and repeated on the container's disk", () => {
    const machine = fullInInstall();
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      const { prefix } = yield* ready;
      const before = machine.memory.paths(new RegExp(`^${prefix}/`));
      yield* ensure(["six==1"]);
      assert.isTrue((yield* ready).prefix.startsWith("/own/"));
      assert.deepStrictEqual(machine.memory.paths(new RegExp(`^${prefix}/`)), before);
      assert.isEmpty(machine.memory.paths(MARKER));
      // The second attempt on the volume does not run uv.
      assert.lengthOf(machine.installs(), 1);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("is reported by one warning with the reason and what uses the space", () => {
    const machine = fullInInstall();
    return Effect.gen(function* () {
      const { ensure } = yield* machine.start();
      yield* ensure(["six==1"]);
      const [warning = "", ...others] = machine.warnings();
      assert.isEmpty(others);
      assert.include(warning, "the volume's quota is exceeded (EDQUOT)");
      assert.include(warning, "container's disk");
      assert.include(warning, "/runpod-volume/runtimes/default/.venvs: 2.0 GB");
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("keeps the virtual environment for other workers, which extend it later", () => {
    const machine = fullInInstall();
    return Effect.gen(function* () {
      const one = yield* machine.start();
      const { prefix } = yield* one.ready;
      yield* one.ensure(["six==1"]);
      const other = yield* machine.start();
      assert.strictEqual((yield* other.ready).prefix, prefix);
      assert.isFalse(yield* other.ensure([]));
      machine.free();
      assert.isTrue(yield* other.ensure(["abc==1"]));
      assert.strictEqual((yield* other.ready).prefix, prefix);
      assert.strictEqual(machine.builds(), 2);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("removes what uv's cache got from it", () => {
    const machine = fullInInstall({
      planted: { "/runpod-volume/.uv-cache/archive-v0/old/abc-1.dist-info": null },
    });
    return Effect.gen(function* () {
      const { ensure } = yield* machine.start();
      yield* ensure(["six==1"]);
      assert.deepStrictEqual(machine.memory.paths(/archive-v0\/[^/]*$/), [
        "/runpod-volume/.uv-cache/archive-v0/old",
      ]);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("abandons a virtual environment in which it emptied other packages", () => {
    const machine = fullInInstall({ volume: { isIntact: false } });
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      const { prefix } = yield* ready;
      yield* ensure(["six==1"]);
      assert.include(machine.memory.paths(MARKER), `${prefix}/.worker-tetra-condemned`);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("is not tried if the volume is full before", () => {
    let code: string | undefined;
    const machine = fakePackages({ volume: { fault: () => code } });
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      yield* ready;
      code = "ENOSPC";
      yield* ensure(["six==1"]);
      assert.isTrue((yield* ready).prefix.startsWith("/own/"));
      assert.isEmpty(machine.installs());
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("succeeds without the cache if only the cache filled the volume", () => {
    let isFull = false;
    const machine = fakePackages({
      programs: (line, memory) => {
        if (!isInstall(line, "six==1") || machine.environments.at(-1)?.["UV_NO_CACHE"] === "1") {
          return undefined;
        }
        isFull = true;
        memory.plant({ "/runpod-volume/.uv-cache/archive-v0/new/six-1.dist-info": null });
        return { exitCode: 2, output: "I/O operation failed during extraction" };
      },
      volume: {
        fault: () =>
          isFull && machine.memory.paths(/archive-v0\/new$/).length > 0 ? "EDQUOT" : undefined,
      },
    });
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      const { prefix } = yield* ready;
      assert.isTrue(yield* ensure(["six==1"]));
      assert.strictEqual((yield* ready).prefix, prefix);
      assert.isEmpty(machine.warnings());
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("is undone if the list of requirements can't be written", () => {
    const machine = fakePackages({});
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start({
        faults: [
          { method: "writeFile", code: "EDQUOT", path: /runpod.*worker-tetra-complete/, from: 2 },
        ],
      });
      const { prefix } = yield* ready;
      yield* ensure(["six==1"]);
      assert.isTrue((yield* ready).prefix.startsWith("/own/"));
      assert.isEmpty(machine.memory.paths(new RegExp(`^${prefix}.*(?:six|installing|complete-)`)));
    }).pipe(Effect.scoped, machine.provide);
  });
});

describe("an install that left empty files on a volume with space", () => {
  const DAMAGED = "/runpod-volume/.uv-cache/archive-v0/damaged";

  it.effect("removes the damaged archive from uv's cache, and installs without the cache", () => {
    let isInstalled = false;
    const machine = fakePackages({
      planted: {
        [`${DAMAGED}/six-1.dist-info`]: null,
        "/runpod-volume/.uv-cache/archive-v0/good/abc-1.dist-info": null,
      },
      programs: (line) => {
        isInstalled ||= isInstall(line, "six==1");
        return undefined;
      },
      volume: {
        emptyFile: (folder) =>
          isInstalled && machine.memory.paths(/\/damaged$/).length > 0
            ? `${folder}/six.py`
            : undefined,
      },
    });
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      const { prefix } = yield* ready;
      yield* ensure(["six==1"]);
      assert.strictEqual((yield* ready).prefix, prefix);
      assert.strictEqual(machine.environments.at(-1)?.["UV_NO_CACHE"], "1");
      assert.deepStrictEqual(machine.memory.paths(/archive-v0\/[^/]*$/), [
        "/runpod-volume/.uv-cache/archive-v0/good",
      ]);
      assert.isEmpty(machine.warnings());
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("is accepted without the cache, since the package has these files", () => {
    const machine = fakePackages({
      volume: { emptyFile: (folder) => `${folder}/six.py` },
    });
    return Effect.gen(function* () {
      const { ensure, ready } = yield* machine.start();
      yield* ensure(["six==1"]);
      assert.isTrue((yield* ready).prefix.startsWith("/runpod-volume/"));
      assert.lengthOf(machine.installs(), 2);
      assert.isEmpty(machine.warnings());
    }).pipe(Effect.scoped, machine.provide);
  });
});

describe("a first build on a full volume", () => {
  it.effect(
    "leaves nothing behind, and is repeated on the container's disk with one warning",
    () => {
      let isFull = false;
      const machine = fakePackages({
        programs: (line, memory) => {
          if (!line.includes(" -- cloudpickle") || !line.includes("/runpod-volume/"))
            return undefined;
          isFull = true;
          return uvOf(line, memory);
        },
        volume: {
          fault: () => (isFull ? "EDQUOT" : undefined),
          emptyFile: (folder) => (isFull ? `${folder}/cloudpickle/__init__.py` : undefined),
        },
      });
      return Effect.gen(function* () {
        const { ready } = yield* machine.start();
        assert.isTrue((yield* ready).prefix.startsWith("/own/"));
        assert.isEmpty(machine.memory.paths(/^\/runpod-volume\/.*\.venvs\/./));
        const [warning = "", ...others] = machine.warnings();
        assert.isEmpty(others);
        assert.include(warning, "the volume's quota is exceeded (EDQUOT)");
        // It is measured in the background.
        const usage = "/runpod-volume/runtimes: 2.0 GB";
        yield* Effect.repeat(Effect.yieldNow, {
          until: () => machine.notices().some((notice) => notice.includes(usage)),
        });
      }).pipe(Effect.scoped, machine.provide);
    },
  );
});

describe("a worker that starts on a full volume", () => {
  const faults: ReadonlyArray<Fault> = [
    {
      method: "writeFile",
      code: "EDQUOT",
      path: /^\/runpod-volume\/.*(?:write-probe|last-start|complete)/,
    },
  ];

  it.effect("uses its virtual environment without changes, and adds packages elsewhere", () => {
    let code: string | undefined;
    const machine = fakePackages({ volume: { fault: () => code } });
    return Effect.gen(function* () {
      const { prefix } = yield* (yield* machine.start()).ready;
      const before = machine.memory.paths(new RegExp(`^${prefix}/`));
      code = "EDQUOT";
      const { ready, ensure } = yield* machine.start({ faults });
      assert.strictEqual((yield* ready).prefix, prefix);
      assert.lengthOf(machine.warnings(), 1);
      assert.include(machine.warnings()[0], "The network volume is full");
      assert.isFalse(yield* ensure([]));
      yield* ensure(["six==1"]);
      assert.isTrue((yield* ready).prefix.startsWith("/own/"));
      assert.lengthOf(machine.warnings(), 2);
      assert.deepStrictEqual(machine.memory.paths(new RegExp(`^${prefix}/`)), before);
    }).pipe(Effect.scoped, machine.provide);
  });

  it.effect("plans without uv's cache, from which uv runs a script", () => {
    let code: string | undefined;
    const machine = fakePackages({
      programs: (line) =>
        line.includes("--dry-run") && machine.environments.at(-1)?.["UV_NO_CACHE"] !== "1"
          ? { exitCode: 2, output: "ImportError: cannot import name 'main'" }
          : undefined,
      volume: { fault: () => code },
    });
    return Effect.gen(function* () {
      const { ready, ensure } = yield* machine.start();
      yield* ready;
      code = "EDQUOT";
      yield* ensure(["six==1"]);
      assert.isTrue((yield* ready).prefix.startsWith("/own/"));
    }).pipe(Effect.scoped, machine.provide);
  });
});
