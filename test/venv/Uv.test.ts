import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Path } from "effect";

import { type ProgramOptions, Programs } from "../../src/platform/programs/Programs.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { Interpreters } from "../../src/venv/Interpreters.ts";
import { Uv } from "../../src/venv/Uv.ts";
import versions from "../../src/venv/versions.json" with { type: "json" };
import { fakePrograms, type Outcome } from "../support/fakes/FakePrograms.ts";
import { type Fault, faultyFileSystem } from "../support/files/FaultyFileSystem.ts";
import { memoryFileSystem } from "../support/files/MemoryFileSystem.ts";

const TOOLS = "/home/me/.cache/worker-tetra/tools";
const PYTHON = "/usr/bin/python3.12";

const failure = (output: string): Outcome => ({ exitCode: 1, output });

/** What a command line does. */
const kindOf = (line: string): "version" | "pip" | "venv" | "other" => {
  if (line.endsWith("--version")) return "version";
  if (line.includes(" -m pip install ")) return "pip";
  return line.includes(" -m venv ") ? "venv" : "other";
};

/** A machine with or without uv, pip and venv. */
const setUp = (
  has: {
    readonly uv?: boolean;
    readonly pip?: boolean;
    readonly venv?: boolean;
    readonly python?: boolean;
    readonly broken?: boolean;
    readonly systemConfiguration?: boolean;
    /** How often a run fails because another host creates the same file. */
    readonly races?: number;
  },
  faults: ReadonlyArray<Fault> = [],
  variables: Readonly<Record<string, string>> = {},
) => {
  const memory = memoryFileSystem({
    ...(has.python === false ? {} : { [PYTHON]: "ELF" }),
    ...(has.systemConfiguration === true ? { "/etc/uv/uv.toml": "system-certs = true" } : {}),
  });
  let { races = 0 } = has;
  const programs = fakePrograms((line) => {
    const [command = ""] = line.split(" ");
    if (line.includes(" pip install six") && races-- > 0) {
      return failure("failed to open `sdists-v11/.git`: File exists (os error 17)");
    }
    switch (kindOf(line)) {
      case "version":
        if (command === "uv") return has.uv === true ? "uv 0.9" : undefined;
        return memory.show()[command] === "uv" && has.broken !== true ? "uv 0.13" : undefined;
      case "pip": {
        if (command === PYTHON && has.pip !== true) return failure("No module named pip");
        const folder = / --target (\S+) /.exec(line)?.[1] ?? "";
        memory.plant({ [`${folder}/bin/uv`]: "uv", [`${folder}/uv/__init__.py`]: "" });
        return "";
      }
      case "venv": {
        if (has.venv !== true) return failure("No module named ensurepip");
        memory.plant({ [`${line.split(" ").at(-1)}/bin/python`]: "ELF" });
        return "";
      }
      default:
        return undefined;
    }
  });
  const runs: Array<{ readonly line: string } & ProgramOptions> = [];
  const recorded = Layer.effect(
    Programs,
    Effect.map(Programs, ({ run }) =>
      Programs.of({
        run: (command, args, options) => {
          runs.push({ line: [command, ...args].join(" "), ...options });
          return run(command, args, options);
        },
      }),
    ),
  ).pipe(Layer.provide(programs.layer));
  const layer = Uv.layerNoDeps.pipe(
    Layer.provide(Interpreters.layerNoDeps),
    Layer.provide([
      faultyFileSystem(memory.contended, faults).layer,
      recorded,
      Path.layer,
      Environment.layerOf({ HOME: "/home/me", PATH: "/usr/bin", ...variables }),
    ]),
  );
  const count = (kind: string) => programs.lines.filter((line) => kindOf(line) === kind).length;
  return { memory, runs, lines: programs.lines, count, provide: Effect.provide(layer) };
};

const command = Effect.flatMap(Uv, (uv) => uv.command);

describe("uv", () => {
  it.effect(
    "runs without configuration files, programs or folders that a job could have created",
    () => {
      const { runs, provide } = setUp({ uv: true });
      return Effect.gen(function* () {
        const uv = yield* Uv;
        const environment = { PATH: "/venv/bin:/usr/bin", UV_CACHE_DIR: "/volume/.uv-cache" };
        yield* Effect.flip(uv.run(["pip", "check"], { environment }));
        const run = runs.find(({ line }) => line.includes("uv pip check"));
        assert.strictEqual(run?.directory, "/");
        assert.deepInclude(run?.environment, {
          PATH: "/usr/bin",
          UV_CACHE_DIR: "/volume/.uv-cache",
          UV_LINK_MODE: "copy",
          UV_NO_CONFIG: "1",
        });
      }).pipe(provide);
    },
  );

  it.effect.each([
    [1, 2],
    [2, 2],
  ] as const)(
    "runs once more if other hosts create the same files: %d times",
    ([races, expected]) => {
      const { lines, provide } = setUp({ uv: true, races });
      return Effect.gen(function* () {
        const uv = yield* Uv;
        const environment = { UV_CACHE_DIR: "/volume/.uv-cache" };
        const error = yield* Effect.flip(uv.run(["pip", "install", "six"], { environment }));
        const tries = lines.filter((line) => line.includes("pip install six"));
        assert.lengthOf(tries, expected);
        assert.strictEqual(error.message.includes("File exists"), races === 2);
      }).pipe(provide);
    },
  );

  it.effect("reads the system's configuration unless UV_CONFIG_FILE is set", () =>
    Effect.gen(function* () {
      const fileOf = Effect.fnUntraced(function* (...given: Parameters<typeof setUp>) {
        const { runs, provide } = setUp(...given);
        yield* Effect.flip(run).pipe(provide);
        return runs.at(-1)?.environment?.["UV_CONFIG_FILE"];
      });
      const has = { uv: true, systemConfiguration: true };
      assert.strictEqual(yield* fileOf(has), "/etc/uv/uv.toml");
      assert.isUndefined(yield* fileOf(has, [], { UV_CONFIG_FILE: "/my/uv.toml" }));
      assert.isUndefined(yield* fileOf({ uv: true }));
    }),
  );

  it.effect(
    "runs without a cache if the cache is a link or a file, unless the user has set it",
    () =>
      Effect.gen(function* () {
        const cacheOf = Effect.fnUntraced(function* (
          planted: Parameters<ReturnType<typeof setUp>["memory"]["plant"]>[0],
          variables: Readonly<Record<string, string>> = {},
        ) {
          const { memory, runs, provide } = setUp({ uv: true }, [], variables);
          memory.plant(planted);
          const environment = { UV_CACHE_DIR: "/volume/.uv-cache" };
          yield* Effect.flip(
            Effect.flatMap(Uv, (uv) => uv.run(["pip", "check"], { environment })),
          ).pipe(provide);
          return runs.at(-1)?.environment?.["UV_NO_CACHE"];
        });
        const link = { "/etc/cron.d": null, "/volume/.uv-cache": { link: "/etc/cron.d" } };
        assert.strictEqual(yield* cacheOf(link), "1");
        assert.strictEqual(yield* cacheOf({ "/volume/.uv-cache": "a file" }), "1");
        assert.isUndefined(yield* cacheOf({ "/volume/.uv-cache": null }));
        assert.isUndefined(yield* cacheOf({}));
        assert.isUndefined(yield* cacheOf(link, { UV_CACHE_DIR: "/volume/.uv-cache" }));
      }),
  );

  it.effect("uses UV_LINK_MODE of the user", () => {
    const { runs, provide } = setUp({ uv: true }, [], { UV_LINK_MODE: "symlink" });
    return Effect.gen(function* () {
      yield* Effect.flip(run);
      // Programs inherit the worker's variables.
      assert.isUndefined(runs.at(-1)?.environment?.["UV_LINK_MODE"]);
    }).pipe(provide);
  });

  it.effect.each([
    [{}, /^\/home\/me\/\.cache\/worker-tetra\/tools\/\.uv-[^/]+\/pip\.conf$/],
    [{ PIP_CONFIG_FILE: "/etc/mine" }, /^\/etc\/mine$/],
  ] as const)(
    "is installed without configuration files that a job could have created: %j",
    ([variables, file]) => {
      const { runs, provide } = setUp({ pip: true }, [], variables);
      return Effect.gen(function* () {
        yield* command;
        const pip = runs.find(({ line }) => line.includes(" -m pip install "));
        assert.include(pip?.line, `${PYTHON} -I -m pip`);
        assert.strictEqual(pip?.directory, "/");
        assert.match(pip?.environment?.["PIP_CONFIG_FILE"] ?? "", file);
      }).pipe(provide);
    },
  );

  it.effect("is the one on PATH, and is searched once", () => {
    const { count, provide } = setUp({ uv: true });
    return Effect.gen(function* () {
      assert.strictEqual(yield* command, "uv");
      assert.strictEqual(yield* command, "uv");
      assert.strictEqual(count("version"), 1);
    }).pipe(provide);
  });

  it.effect("is installed by pip, and found by the next worker", () => {
    const { memory, count, provide } = setUp({ pip: true });
    return Effect.gen(function* () {
      const installed = yield* provide(command);
      assert.match(installed, new RegExp(`^${TOOLS}/uv-[\\d.]+/bin/uv$`));
      assert.strictEqual(yield* provide(command), installed);
      assert.strictEqual(count("pip"), 1);
      assert.deepStrictEqual(memory.paths(/\/\.uv-/), []);
    });
  });

  it.effect("is installed by the pip of a virtual environment if Python has no pip", () => {
    const { memory, runs, provide } = setUp({ venv: true });
    return Effect.gen(function* () {
      assert.include(yield* command, TOOLS);
      const venvs = runs.filter(({ line }) => kindOf(line) === "venv");
      assert.lengthOf(venvs, 1);
      // `-I` and the directory exclude modules of the current directory and of PYTHONPATH.
      assert.include(venvs[0]?.line, `${PYTHON} -I -m venv `);
      assert.strictEqual(venvs[0]?.directory, "/");
      assert.deepStrictEqual(memory.paths(/\/\.uv-/), []);
    }).pipe(provide);
  });

  it.effect(
    "fails with what to install if pip and venv are missing, and is tried again by the next call",
    () => {
      const { memory, count, provide } = setUp({});
      return Effect.gen(function* () {
        const error = yield* Effect.flip(command);
        assert.strictEqual(error._tag, "UvUnavailable");
        assert.match(error.message, /pip install uv==[\d.]+/);
        assert.include(error.message, "python3-pip");
        assert.include(error.message, "python3-venv");
        assert.include(error.message, "No module named pip");
        assert.include(error.message, "No module named ensurepip");
        assert.deepStrictEqual(memory.paths(/\/\.uv-/), []);
        yield* Effect.flip(command);
        assert.strictEqual(count("pip"), 2);
      }).pipe(provide);
    },
  );

  it.effect("fails if there is no Python to install it with", () => {
    const { provide } = setUp({ python: false });
    return Effect.gen(function* () {
      assert.include((yield* Effect.flip(command)).message, "No usable Python");
    }).pipe(provide);
  });

  it.effect("is installed once by several workers at the same time", () => {
    const { memory, provide } = setUp({ pip: true });
    return Effect.gen(function* () {
      const commands = yield* Effect.all([provide(command), provide(command), provide(command)], {
        concurrency: "unbounded",
      });
      assert.lengthOf([...new Set(commands)], 1);
      assert.deepStrictEqual(memory.paths(/\/\.uv-/), []);
    });
  });

  it.effect("replaces an installed uv that does not run", () => {
    const { memory, provide } = setUp({ pip: true });
    return Effect.gen(function* () {
      const installed = yield* provide(command);
      memory.plant({ [installed]: "incomplete" });
      assert.strictEqual(yield* provide(command), installed);
      assert.strictEqual(memory.show()[installed], "uv");
      assert.deepStrictEqual(memory.paths(/\/\.uv-/), []);
    });
  });

  it.effect.each(["makeDirectory", "rename"] as const)(
    "fails with the disk's error if it can't be installed: %s",
    (method) => {
      const { memory, provide } = setUp({ pip: true }, [{ method, code: "ENOSPC" }]);
      return Effect.gen(function* () {
        const error = yield* Effect.flip(command);
        assert.include(error.message, `${TOOLS} can't be written: there is no space left (ENOSPC)`);
        assert.deepStrictEqual(memory.paths(/\/\.uv-/), []);
      }).pipe(provide);
    },
  );

  const OPTIONS = { environment: {} } as const;
  const run = Effect.flatMap(Uv, (uv) => uv.run(["pip", "check"], OPTIONS));

  it.effect("runs without a check of its version if it was installed before", () => {
    const { memory, count, provide } = setUp({ pip: true });
    return Effect.gen(function* () {
      const installed = yield* provide(command);
      const versions = count("version");
      const error = yield* Effect.flip(provide(run));
      assert.strictEqual(error._tag, "ProgramFailed");
      // The version is checked only after a failure.
      assert.strictEqual(count("version"), versions + 2);
      assert.include(memory.paths(/bin\/uv$/), installed);
    });
  });

  it.effect("on PATH is used if the installed one turns out to be broken", () => {
    const { memory, provide } = setUp({ uv: true });
    memory.plant({ [`${TOOLS}/uv-${versions.uv}/bin/uv`]: "broken" });
    return Effect.gen(function* () {
      const error = yield* Effect.flip(run);
      assert.include(error.message, "uv pip check");
      assert.notInclude(error.message, TOOLS);
    }).pipe(provide);
  });
});
