import { assert, describe, it } from "@effect/vitest";
import { Effect, Layer, Path } from "effect";

import { type ProgramOptions, Programs } from "../../src/platform/Programs.ts";
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

/** What is asked of a program, by the first words that tell. */
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
  },
  faults: ReadonlyArray<Fault> = [],
  variables: Readonly<Record<string, string>> = {},
) => {
  const memory = memoryFileSystem({
    ...(has.python === false ? {} : { [PYTHON]: "ELF" }),
    ...(has.systemConfiguration === true ? { "/etc/uv/uv.toml": "system-certs = true" } : {}),
  });
  const programs = fakePrograms((line) => {
    const [command = ""] = line.split(" ");
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
  const kept = Layer.effect(
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
      kept,
      Path.layer,
      Environment.layerOf({ HOME: "/home/me", PATH: "/usr/bin", ...variables }),
    ]),
  );
  const count = (kind: string) => programs.lines.filter((line) => kindOf(line) === kind).length;
  return { memory, runs, count, provide: Effect.provide(layer) };
};

const command = Effect.flatMap(Uv, (uv) => uv.command);

describe("Uv", () => {
  it.effect(
    "runs without any configuration file, program or folder that a job could have made",
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

  it.effect(
    "reads the configuration that the machine has for all users, unless another is set",
    () =>
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

  it.effect("writes through no link in the place of its cache, unless it is the user's", () =>
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

  it.effect("links packages as the user has set it", () => {
    const { runs, provide } = setUp({ uv: true }, [], { UV_LINK_MODE: "symlink" });
    return Effect.gen(function* () {
      yield* Effect.flip(run);
      // Programs have the variables of the worker already.
      assert.isUndefined(runs.at(-1)?.environment?.["UV_LINK_MODE"]);
    }).pipe(provide);
  });

  it.effect.each([
    [{}, /^\/home\/me\/\.cache\/worker-tetra\/tools\/\.uv-[^/]+\/pip\.conf$/],
    [{ PIP_CONFIG_FILE: "/etc/mine" }, /^\/etc\/mine$/],
  ] as const)(
    "is installed without a configuration that a job could have made: %j",
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

  it.effect("is the one of PATH, asked for once", () => {
    const { count, provide } = setUp({ uv: true });
    return Effect.gen(function* () {
      assert.strictEqual(yield* command, "uv");
      assert.strictEqual(yield* command, "uv");
      assert.strictEqual(count("version"), 1);
    }).pipe(provide);
  });

  it.effect("is brought by pip, and found there by the next worker", () => {
    const { memory, count, provide } = setUp({ pip: true });
    return Effect.gen(function* () {
      const brought = yield* provide(command);
      assert.match(brought, new RegExp(`^${TOOLS}/uv-[\\d.]+/bin/uv$`));
      assert.strictEqual(yield* provide(command), brought);
      assert.strictEqual(count("pip"), 1);
      assert.deepStrictEqual(memory.paths(/\/\.uv-/), []);
    });
  });

  it.effect("is brought by the pip of a virtual environment where Python has none", () => {
    const { memory, runs, provide } = setUp({ venv: true });
    return Effect.gen(function* () {
      assert.include(yield* command, TOOLS);
      const venvs = runs.filter(({ line }) => kindOf(line) === "venv");
      assert.lengthOf(venvs, 1);
      // Without modules of the current directory or of the variables of the user.
      assert.include(venvs[0]?.line, `${PYTHON} -I -m venv `);
      assert.strictEqual(venvs[0]?.directory, "/");
      assert.deepStrictEqual(memory.paths(/\/\.uv-/), []);
    }).pipe(provide);
  });

  it.effect("says what to install where nothing brings it, and is tried for again", () => {
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
  });

  it.effect("says so where there is no Python to bring it", () => {
    const { provide } = setUp({ python: false });
    return Effect.gen(function* () {
      assert.include((yield* Effect.flip(command)).message, "No usable Python");
    }).pipe(provide);
  });

  it.effect("is brought by one of several who try at once", () => {
    const { memory, provide } = setUp({ pip: true });
    return Effect.gen(function* () {
      const commands = yield* Effect.all([provide(command), provide(command), provide(command)], {
        concurrency: "unbounded",
      });
      assert.lengthOf([...new Set(commands)], 1);
      assert.deepStrictEqual(memory.paths(/\/\.uv-/), []);
    });
  });

  it.effect("takes the place of one that does not run", () => {
    const { memory, provide } = setUp({ pip: true });
    return Effect.gen(function* () {
      const brought = yield* provide(command);
      memory.plant({ [brought]: "half of it" });
      assert.strictEqual(yield* provide(command), brought);
      assert.strictEqual(memory.show()[brought], "uv");
      assert.deepStrictEqual(memory.paths(/\/\.uv-/), []);
    });
  });

  it.effect.each(["makeDirectory", "rename"] as const)(
    "says what the disk did where it can't be kept: %s",
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

  it.effect("that was brought before is run without being asked for its version", () => {
    const { memory, count, provide } = setUp({ pip: true });
    return Effect.gen(function* () {
      const brought = yield* provide(command);
      const versions = count("version");
      const error = yield* Effect.flip(provide(run));
      assert.strictEqual(error._tag, "ProgramFailed");
      // Only when something goes wrong.
      assert.strictEqual(count("version"), versions + 2);
      assert.include(memory.paths(/bin\/uv$/), brought);
    });
  });

  it.effect("that does not run is noticed when it fails, and another takes its place", () => {
    const { memory, provide } = setUp({ uv: true });
    memory.plant({ [`${TOOLS}/uv-${versions.uv}/bin/uv`]: "broken" });
    return Effect.gen(function* () {
      const error = yield* Effect.flip(run);
      assert.include(error.message, "uv pip check");
      assert.notInclude(error.message, TOOLS);
    }).pipe(provide);
  });
});
