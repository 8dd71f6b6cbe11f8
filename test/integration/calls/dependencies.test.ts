import { execFileSync } from "node:child_process";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it, layer } from "@effect/vitest";
import { Effect, FileSystem, Path } from "effect";

import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { call, callMethod, realWorker } from "../../support/processes/RealWorker.ts";

const VERSION = "def f():\n    import six\n    return six.__version__";

/** Runs workers in a new workspace, since the test changes it. */
const inFreshWorkspace = <A, E, R>(
  use: (
    worker: (settings?: Readonly<Record<string, string>>) => ReturnType<typeof realWorker>,
    directory: string,
  ) => Effect.Effect<A, E, R>,
) =>
  Effect.gen(function* () {
    const directory = yield* temporaryFolder;
    return yield* use(
      (settings) => realWorker({ ...settings, WORKER_WORKSPACE_PATH: directory }),
      directory,
    );
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer));

/** The venvs in the folder `.venvs`. */
const venvsIn = (names: ReadonlyArray<string>) => names.filter((name) => /-\d+$/.test(name));

const prefixOf = call("import sys\ndef f(): return sys.prefix", "f");

describe("dependencies", () => {
  it.live(
    "are installed before the code runs, and an install that only adds packages keeps instances",
    () =>
      inFreshWorkspace((worker) =>
        Effect.gen(function* () {
          const counter =
            "class C:\n    n = 0\n    def add(self):\n        self.n += 1\n        return self.n";
          yield* callMethod(counter, "C", "C_1", "add");
          const missing = yield* call(VERSION, "f");
          assert.include(missing.error, "No module named 'six'");
          const response = yield* call(VERSION, "f", [], { dependencies: ["six==1.16.0"] });
          assert.deepStrictEqual([response.json_result, response.error], ["1.16.0", null]);
          assert.strictEqual((yield* callMethod(counter, "C", "C_1", "add")).json_result, 2);
          assert.strictEqual((yield* call(VERSION, "f")).json_result, "1.16.0");
        }).pipe(Effect.provide(worker())),
      ),
  );

  it.live(
    "that conflict with those of another function are installed into a separate venv, built once",
    () =>
      inFreshWorkspace((worker, directory) =>
        Effect.gen(function* () {
          const files = yield* FileSystem.FileSystem;
          const turn = Effect.gen(function* () {
            const seen: Array<unknown> = [];
            for (const version of ["1.15.0", "1.16.0", "1.15.0", "1.16.0"]) {
              const response = yield* call(VERSION, "f", [], { dependencies: [`six==${version}`] });
              seen.push(response.json_result ?? response.error);
            }
            return seen;
          });
          const expected = ["1.15.0", "1.16.0", "1.15.0", "1.16.0"];
          assert.deepStrictEqual(yield* Effect.provide(turn, worker()), expected);
          const before = venvsIn(yield* files.readDirectory(`${directory}/.venvs`));
          assert.lengthOf(before, 2);
          // A second worker uses the existing venvs.
          assert.deepStrictEqual(yield* Effect.provide(turn, worker()), expected);
          assert.sameMembers(venvsIn(yield* files.readDirectory(`${directory}/.venvs`)), before);
        }),
      ),
  );

  it.live(
    "that replace an imported module take effect, and stdout explains the loss of instances",
    () =>
      inFreshWorkspace((worker) =>
        Effect.gen(function* () {
          const holder = `import six
class C:
    n = 0
    def add(self):
        self.n += 1
        return [self.n, six.__version__]`;
          const old = { dependencies: ["six==1.15.0"] };
          const counts = callMethod(holder, "C", "C_1", "add", [], old);
          assert.deepStrictEqual((yield* counts).json_result, [1, "1.15.0"]);
          assert.deepStrictEqual((yield* counts).json_result, [2, "1.15.0"]);
          const newer = yield* call(VERSION, "f", [], { dependencies: ["six==1.16.0"] });
          assert.strictEqual(newer.json_result, "1.16.0");
          assert.include(newer.stdout, "The virtual environment was replaced, and the instance");
          const back = yield* counts;
          assert.deepStrictEqual(back.json_result, [1, "1.15.0"]);
          assert.include(back.stdout, "C_1 was recreated: the virtual environment was replaced");
        }).pipe(Effect.provide(worker())),
      ),
  );

  it.live("of an interrupted install are detected, and the venv is rebuilt", () =>
    inFreshWorkspace((worker) =>
      Effect.gen(function* () {
        const files = yield* FileSystem.FileSystem;
        const path = yield* Path.Path;
        const first = yield* call(VERSION, "f", [], { dependencies: ["six==1.16.0"] });
        assert.isNull(first.error);
        const { json_result: prefix } = yield* prefixOf;
        // The state after a worker was killed during an install.
        yield* files.writeFileString(path.join(String(prefix), ".worker-tetra-installing"), "");
        yield* files.remove(
          path.join(
            String(prefix),
            "lib",
            String((yield* files.readDirectory(path.join(String(prefix), "lib")))[0]),
            "site-packages",
            "six.py",
          ),
        );
        const response = yield* call(
          "def f():\n    import six, toolz\n    return six.__version__",
          "f",
          [],
          {
            dependencies: ["toolz"],
          },
        );
        assert.deepStrictEqual([response.json_result, response.error], ["1.16.0", null]);
        assert.notStrictEqual((yield* prefixOf).json_result, prefix);
      }).pipe(Effect.provide(worker())),
    ),
  );

  layer(realWorker({ UV_HTTP_RETRIES: "0" }), { excludeTestServices: true })(
    "that can't be installed",
    (it) => {
      it.effect.each([
        ["no-such-package-of-tests", "no package index has it"],
        ["six==99.9", "no package index has it"],
        ["pkg @ http://127.0.0.1:9/pkg-1.0-py3-none-any.whl", "can't be reached"],
        ["--index-url=http://127.0.0.1:9", "is an option"],
        ["-r /etc/passwd", "is an option"],
        ["six\nattrs", "line break"],
      ] as const)(
        "fail the job with the reason before its code runs: %s",
        ([requirement, reason]) =>
          Effect.gen(function* () {
            const response = yield* call("print('ran')\ndef f(): pass", "f", [], {
              dependencies: [requirement],
            });
            assert.isFalse(response.success);
            assert.include(response.error, reason);
            assert.isNull(response.stdout);
          }),
      );

      it.effect("fail the job with both requirements when they conflict", () =>
        Effect.gen(function* () {
          const response = yield* call("def f(): pass", "f", [], {
            dependencies: ["six==1.15.0", "six==1.16.0"],
          });
          assert.include(response.error, "conflict with each other");
        }),
      );
    },
  );
});

describe("packages of the image", () => {
  it.live("can be imported by jobs, and packages of the job's venv take precedence", () =>
    inFreshWorkspace((worker, directory) =>
      Effect.gen(function* () {
        const path = yield* Path.Path;
        const { json_result: own } = yield* Effect.provide(
          call("import sys\ndef f(): return sys.executable", "f"),
          worker(),
        );
        // A venv as the image's Python, with a package that is nowhere else.
        const image = path.join(directory, "image");
        execFileSync(String(own), ["-m", "venv", "--without-pip", image]);
        const python = path.join(image, "bin", "python");
        const packages = execFileSync(
          python,
          ["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
          { encoding: "utf8" },
        ).trim();
        const files = yield* FileSystem.FileSystem;
        yield* files.writeFileString(path.join(packages, "only_in_image.py"), "NAME = 'image'");
        yield* files.writeFileString(path.join(packages, "six.py"), "__version__ = 'image'");
        const responses = Effect.gen(function* () {
          const code =
            "def f():\n    import only_in_image, six\n    return only_in_image.NAME, six.__version__";
          const before = yield* call(code, "f");
          const after = yield* call(code, "f", [], { dependencies: ["six==1.16.0"] });
          const fresh = yield* call(
            "import subprocess, sys\ndef f(): return subprocess.check_output([sys.executable, '-c', 'import six; print(six.__version__)'], text=True).strip()",
            "f",
          );
          return [
            before.json_result ?? before.error,
            after.error,
            fresh.json_result ?? fresh.error,
          ];
        });
        assert.deepStrictEqual(
          yield* Effect.provide(responses, worker({ WORKER_IMAGE_PYTHON: python })),
          [["image", "image"], null, "1.16.0"],
        );
      }),
    ),
  );
});
