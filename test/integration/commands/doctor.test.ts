import { execFileSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, expect, it } from "@effect/vitest";
import { Effect, FileSystem, Layer, Option } from "effect";

import { FileLock } from "../../../src/platform/locks/FileLock.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { startProcess } from "../../support/processes/ChildProcess.ts";
import { runCommandLine } from "../../support/processes/CommandLineRun.ts";
import { realEnvironment } from "../../support/processes/RealWorker.ts";
import { workerProcess } from "../../support/processes/WorkerProcess.ts";
import { leaksOf } from "../../support/values/Leaks.ts";

const FUNCTION = { function_name: "f", function_code: "def f(): return 1" };

const DAY = 24 * 60 * 60 * 1000;

const TAG = "Signature: 8a477f597d28d172789f06886806bc55\n";

/** Swaps folders of a volume for links to a folder outside, and back, as fast as possible. */
const SWAP = `import os, sys
volume, outside = sys.argv[1:]
places = {
    volume + "/.uv-cache": outside,
    volume + "/.uv-cache/archive-v0": outside + "/archive-v0",
    volume + "/runtimes/x": outside,
    volume + "/runtimes/x/.venvs": outside + "/.venvs",
}
while True:
    for place, target in places.items():
        try:
            os.makedirs(volume + "/runtimes/x/.venvs/.building-x", exist_ok=True)
            os.utime(volume + "/runtimes/x/.venvs/.building-x", (0, 0))
            os.makedirs(volume + "/.uv-cache/archive-v0/unused", exist_ok=True)
            os.rename(place, place + ".aside")
            os.symlink(target, place)
            os.unlink(place)
            os.rename(place + ".aside", place)
        except OSError:
            pass
`;

/** A folder beside the volume that must stay as it is. */
const outsideOf = (volume: string) => {
  const outside = `${volume}-outside`;
  mkdirSync(join(outside, ".venvs", "3.12.1-bbbbbbbb-1"), { recursive: true });
  mkdirSync(join(outside, "archive-v0", "unused"), { recursive: true });
  writeFileSync(join(outside, "file"), "precious");
  writeFileSync(join(outside, "archive-v0", "unused", "file"), "precious");
  const before = readdirSync(outside, { recursive: true }).toSorted();
  return {
    outside,
    assertUntouched: () =>
      assert.deepStrictEqual(readdirSync(outside, { recursive: true }).toSorted(), before),
  };
};

/** The entries of a cache other than files. */
const left = (cache: string) =>
  readdirSync(cache, { recursive: true })
    .map(String)
    .filter((name) => !name.includes("file"))
    .toSorted();

const program = (args: ReadonlyArray<string>, variables: Readonly<Record<string, string>> = {}) =>
  runCommandLine(args, { ...realEnvironment(), ...variables });

/** What a person sees, with what differs between machines replaced. */
const steady = (text: string, volume: string): string =>
  text
    .replaceAll(volume, "<volume>")
    .replace(/^worker-tetra .*/, "worker-tetra <version> on <host>")
    .replace(/Node {9}.*/, "Node         <version>")
    .replace(/Python {7}.*/, "Python       <version>")
    .replace(/uv {11}.*/, "uv           <version>")
    .replace(/GPU {10}.*/, "GPU          <GPU>")
    .replace(/. Disk {9}.*?; (.*)(\n {15}.*)?/, "Disk         <space>; $1")
    .replaceAll(/^ +\d+\.\d [kMG]?B {2}/gm, "  <size>  ")
    .replaceAll(/\d+\.\d+\.\d+-[0-9a-f]{8}-1/g, "<environment>")
    .replaceAll(/(Python|cloudpickle) \d+\.\d+\.\d+/g, "$1 <version>")
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z, version [\d.]+/g, "<time>, version <version>")
    .replaceAll(/in \d+\.\d\d s/g, "in <seconds>")
    .replace(/Settings[^]*/, "Settings …");

describe("doctor", () => {
  it.live("shows the machine, the volume and the last start of a worker", () =>
    Effect.gen(function* () {
      const volume = yield* temporaryFolder;
      const variables = {
        RUNPOD_VOLUME_PATH: volume,
        RUNPOD_ENDPOINT_ID: "mine",
        RUNPOD_API_KEY: "a-key-that-nobody-may-see",
        WORKER_CONCURRENCY: "2",
      };
      const before = yield* program(["doctor"], variables);
      assert.strictEqual(before.code, 0);
      assert.include(before.stdout, "none: the first start creates one");
      // Looking leaves nothing behind but the folder.
      assert.deepStrictEqual(readdirSync(join(volume, "runtimes", "mine")), []);

      yield* program(["start", "--test_input", JSON.stringify({ input: FUNCTION })], variables);
      const { code, stdout } = yield* program(["doctor"], variables);
      assert.strictEqual(code, 0);
      expect(steady(stdout, volume)).toMatchSnapshot("doctor");
      assert.match(stdout, /WORKER_CONCURRENCY +2 \(environment\)/);
      assert.match(stdout, /WORKER_JOB_TIMEOUT +off \(default\)/);
      assert.match(stdout, /RUNPOD_API_KEY +set \(environment\)/);
      assert.notInclude(stdout, variables.RUNPOD_API_KEY);

      const json = JSON.parse((yield* program(["doctor", "--json"], variables)).stdout);
      assert.isTrue(json.healthy);
      assert.deepInclude(json.lastStart, { origin: "created", shared: true, trouble: null });
      assert.deepInclude(json.settings, {
        name: "WORKER_CONCURRENCY",
        value: "2",
        origin: "environment",
      });
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );

  it.live("exits with 1 and says what is missing and how to fix it", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* program(["doctor"], {
        WORKER_PYTHON: "/nonexistent/python",
        WORKER_REQUIRE_GPU: "true",
        WORKER_CONCURRENCY: "many",
        RUNPOD_ENDPOINT_ID: "mine",
        PATH: "/usr/bin:/bin",
      });
      assert.strictEqual(code, 1);
      assert.match(stdout, /✗ Python +No usable Python: .*set WORKER_PYTHON to one/);
      assert.match(stdout, /✗ GPU +WORKER_REQUIRE_GPU is set.*\n +Start the container with a GPU/);
      assert.match(stdout, /✗ WORKER_CONCURRENCY .*expected a whole number/);
    }).pipe(Effect.scoped),
  );

  it.live("masks secrets in settings and findings", () =>
    Effect.gen(function* () {
      const key = "rpa_Zq81mXw3Vt60bLk9Ys";
      const variables = {
        RUNPOD_API_KEY: key,
        WORKER_SERVE_KEY: "serve-4f8a7d9c3b2e",
        WORKER_PYTHON: `/nonexistent/${key}`,
        WORKER_CONCURRENCY: "https://me:pw1@host/?token=pw2",
        RUNPOD_WEBHOOK_GET_JOB: "https://api.example/v2/endpoint/job-take/$ID?token=pw3",
        WORKER_INSTALL_TIMEOUT: key.slice(0, 12),
      };
      for (const args of [["doctor"], ["doctor", "--json"]]) {
        const { stdout, stderr } = yield* program(args, variables);
        assert.isEmpty(leaksOf(key, stdout + stderr));
        for (const secret of ["pw1", "pw2", "pw3", "serve-4f8", "api.example"]) {
          assert.notInclude(stdout + stderr, secret);
        }
        assert.include(stdout, "https://***@host/?token=***");
      }
    }),
  );

  it.live("runs no code from PYTHON* variables or from the current directory", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      const ran = join(folder, "ran");
      for (const name of ["sitecustomize", "usercustomize", "cloudpickle", "json", "fcntl"]) {
        writeFileSync(
          join(folder, `${name}.py`),
          `open(${JSON.stringify(ran)}, "a").write("${name} ")`,
        );
      }
      const { stdout } = yield* program(["doctor"], {
        PYTHONPATH: folder,
        PYTHONSTARTUP: join(folder, "json.py"),
        PYTHONUSERBASE: folder,
      });
      assert.match(stdout, /Venv +.*with cloudpickle \d/);
      assert.isFalse(existsSync(ran));
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );

  it.live("continues when RUNPOD_ENDPOINT_ID is invalid", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* program(["doctor"], { RUNPOD_ENDPOINT_ID: "../other" });
      assert.strictEqual(code, 1);
      assert.match(stdout, /✗ RUNPOD_ENDPOINT_ID .*expected letters/);
    }).pipe(Effect.scoped),
  );
});

describe("prune", () => {
  /** A volume with what can go, and what must stay. */
  const planted = Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem;
    const volume = yield* temporaryFolder;
    const runtimes = join(volume, "runtimes");
    const old = new Date(Date.now() - 40 * DAY);
    const plant = Effect.fnUntraced(function* (
      endpoint: string,
      names: ReadonlyArray<string>,
      isOld: boolean,
    ) {
      const venvs = join(runtimes, endpoint, ".venvs");
      for (const name of names) {
        yield* files.makeDirectory(join(venvs, name), { recursive: true });
        yield* files.writeFileString(join(venvs, name, "file"), "x");
        if (name.startsWith(".")) continue;
        yield* files.writeFileString(join(venvs, `${name}.lock`), "");
      }
      yield* files.symlink(join(".venvs", names[0] ?? ""), join(runtimes, endpoint, ".venv"));
      yield* files.writeFileString(join(runtimes, endpoint, ".initialization.lock"), "");
      yield* files.writeFileString(join(runtimes, endpoint, ".last-start.json"), "{}");
      if (!isOld) return;
      for (const name of [".venvs", ".initialization.lock", ".last-start.json"]) {
        yield* files.utimes(join(runtimes, endpoint, name), old, old);
      }
    });
    const age = (path: string) => files.utimes(join(runtimes, path), old, old);
    yield* plant("current", ["3.12.1-aaaaaaaa-2", "3.12.1-aaaaaaaa-1", ".building-abc"], false);
    yield* age("current/.venvs/3.12.1-aaaaaaaa-1");
    yield* age("current/.venvs/3.12.1-aaaaaaaa-1.lock");
    yield* age("current/.venvs/3.12.1-aaaaaaaa-2");
    yield* age("current/.venvs/.building-abc");
    yield* plant("left", ["3.12.1-bbbbbbbb-1"], true);
    yield* plant("working", ["3.12.1-cccccccc-1"], true);
    return { volume, runtimes };
  });

  it.live("deletes what has been unused for long and is not in use by a worker", () =>
    Effect.gen(function* () {
      const { volume, runtimes } = yield* planted;
      const variables = { RUNPOD_VOLUME_PATH: volume };
      const locks = yield* FileLock;
      const held = yield* locks.tryLock(
        join(runtimes, "working", ".venvs", "3.12.1-cccccccc-1.lock"),
        "shared",
      );
      assert.isTrue(Option.isSome(held));

      const shown = yield* program(["prune", "--dry-run"], variables);
      assert.strictEqual(shown.code, 0);
      expect(steady(shown.stdout, volume)).toMatchSnapshot("dry run");
      const asked = yield* program(["prune"], variables);
      assert.strictEqual(asked.code, 1);
      assert.include(asked.stderr, "Add --yes");
      assert.lengthOf(readdirSync(runtimes), 3);

      const done = yield* program(["prune", "--yes"], variables);
      assert.strictEqual(done.code, 0);
      expect(steady(done.stdout, volume)).toMatchSnapshot("done");
      assert.sameMembers(readdirSync(runtimes), ["current", "working"]);
      assert.deepStrictEqual(
        readdirSync(join(runtimes, "current", ".venvs")).filter((name) => !name.endsWith(".lock")),
        ["3.12.1-aaaaaaaa-2"],
      );
    }).pipe(
      Effect.scoped,
      Effect.provide(
        Layer.merge(FileLock.layer.pipe(Layer.provide(Environment.layer)), NodeServices.layer),
      ),
    ),
  );

  it.live("follows no link out of the volume", () =>
    Effect.gen(function* () {
      const { volume, runtimes } = yield* planted;
      const { outside, assertUntouched } = outsideOf(volume);
      const old = new Date(Date.now() - 40 * DAY);
      utimesSync(join(outside, ".venvs"), old, old);
      const endpoint = (name: string) => {
        mkdirSync(join(runtimes, name));
        for (const file of [".initialization.lock", ".last-start.json"]) {
          writeFileSync(join(runtimes, name, file), "");
          utimesSync(join(runtimes, name, file), old, old);
        }
        return join(runtimes, name);
      };
      /** Puts something else in the place of an endpoint's lock, as old as that. */
      const replaceLock = (name: string, plant: (lock: string) => void) => {
        const lock = join(endpoint(name), ".initialization.lock");
        rmSync(lock);
        plant(lock);
        lutimesSync(lock, old, old);
        return join(runtimes, name);
      };
      symlinkSync(outside, join(runtimes, "linked"));
      symlinkSync(outside, join(runtimes, ".removing-linked"));
      symlinkSync(join(outside, ".venvs"), join(endpoint("venvs"), ".venvs"));
      lutimesSync(join(runtimes, "venvs", ".venvs"), old, old);
      const locked = replaceLock("lock", (lock) => symlinkSync(join(outside, "file"), lock));
      const piped = replaceLock("pipe", (lock) => execFileSync("mkfifo", [lock]));
      const hard = replaceLock("hard", (lock) => linkSync(join(outside, "file"), lock));
      const inside = endpoint("inside");
      symlinkSync(outside, join(inside, "link"));
      symlinkSync(outside, join(volume, ".uv-cache"));
      const { stdout, code } = yield* program(["prune", "--yes"], { RUNPOD_VOLUME_PATH: volume });
      assertUntouched();
      assert.strictEqual(readFileSync(join(outside, "file"), "utf8"), "precious");
      assert.include(
        stdout,
        `${join(runtimes, "linked")} is not a folder (links are not followed)`,
      );
      assert.include(
        stdout,
        `${join(volume, ".uv-cache")} is not a folder (links are not followed)`,
      );
      for (const removed of [inside, join(runtimes, "venvs")]) {
        assert.include(stdout, `Deleted ${removed}`);
        assert.isFalse(existsSync(removed));
      }
      // Without the lock it is unknown who uses it.
      for (const kept of [locked, piped, hard]) assert.include(stdout, `Skipped ${kept}`);
      assert.strictEqual(code, 0);
      rmSync(outside, { recursive: true });
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );

  it.live("deletes nothing outside of the volume while folders are swapped for links", () =>
    Effect.gen(function* () {
      const volume = yield* temporaryFolder;
      const { outside, assertUntouched } = outsideOf(volume);
      const cache = join(volume, ".uv-cache");
      mkdirSync(cache);
      writeFileSync(join(cache, "CACHEDIR.TAG"), TAG);
      mkdirSync(join(volume, "runtimes"));
      yield* startProcess("python3", ["-I", "-c", SWAP, volume, outside]);
      for (let tries = 0; tries < 8; tries += 1) {
        yield* program(["prune", "--yes", "--days", "0"], { RUNPOD_VOLUME_PATH: volume });
        assertUntouched();
      }
      rmSync(outside, { recursive: true });
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  );

  describe("of uv's cache", () => {
    const withCache = Effect.gen(function* () {
      const volume = yield* temporaryFolder;
      const cache = join(volume, ".uv-cache");
      for (const folder of [
        "archive-v0/used",
        "archive-v0/unused",
        "wheels-v7/pypi/six",
        "wheels-v8/pypi/six",
        "builds-v0/left",
        "not uv's",
      ]) {
        mkdirSync(join(cache, folder), { recursive: true });
        writeFileSync(join(cache, folder, "file"), "x");
      }
      symlinkSync("../../../archive-v0/used", join(cache, "wheels-v8/pypi/six/1.0-py3"));
      const run = (...args: ReadonlyArray<string>) =>
        program(["prune", ...args], { RUNPOD_VOLUME_PATH: volume });
      return { cache, run };
    });
    it.live("deletes unreferenced archives after confirmation", () =>
      Effect.gen(function* () {
        const { cache, run } = yield* withCache;
        writeFileSync(join(cache, "CACHEDIR.TAG"), TAG);
        const before = left(cache);
        const shown = yield* run("--dry-run");
        assert.include(shown.stdout, `${cache}: unreferenced packages in uv's cache`);
        const asked = yield* run();
        assert.strictEqual(asked.code, 1);
        assert.include(asked.stderr, "Add --yes");
        assert.deepStrictEqual(left(cache), before);
        const done = yield* run("--yes");
        assert.strictEqual(done.code, 0);
        assert.include(done.stdout, `Deleted 3 entries of ${cache}`);
        assert.deepStrictEqual(left(cache), [
          ".lock",
          "CACHEDIR.TAG",
          "archive-v0",
          "archive-v0/used",
          "builds-v0",
          "not uv's",
          "wheels-v8",
          "wheels-v8/pypi",
          "wheels-v8/pypi/six",
          "wheels-v8/pypi/six/1.0-py3",
        ]);
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    );

    it.live.each([
      ["no tag", () => {}],
      ["a tag with another text", (tag) => writeFileSync(tag, "Signature: 0")],
      [
        "a link as its tag",
        (tag) => {
          writeFileSync(`${tag}.real`, TAG);
          symlinkSync(`${tag}.real`, tag);
        },
      ],
      ["a pipe as its tag", (tag) => execFileSync("mkfifo", [tag])],
      [
        "a tag too large to be read",
        (tag) => {
          writeFileSync(tag, TAG);
          truncateSync(tag, 64 * 1024 * 1024);
        },
      ],
    ] as ReadonlyArray<readonly [string, (tag: string) => void]>)(
      "is skipped with a reason where the cache has %s",
      ([, plant]) =>
        Effect.gen(function* () {
          const { cache, run } = yield* withCache;
          plant(join(cache, "CACHEDIR.TAG"));
          const before = left(cache);
          const { code, stdout } = yield* run("--yes");
          assert.strictEqual(code, 0);
          assert.include(stdout, `${cache} has no CACHEDIR.TAG`);
          assert.deepStrictEqual(left(cache), before);
        }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    );

    it.live("deletes nothing while uv uses the cache", () =>
      Effect.gen(function* () {
        const { cache, run } = yield* withCache;
        writeFileSync(join(cache, "CACHEDIR.TAG"), TAG);
        yield* (yield* FileLock).tryLock(join(cache, ".lock"), "shared");
        const before = left(cache);
        const { stdout } = yield* run("--yes");
        assert.include(stdout, `Skipped ${cache}: in use by a worker`);
        assert.deepStrictEqual(left(cache), before);
      }).pipe(
        Effect.scoped,
        Effect.provide(
          Layer.merge(FileLock.layer.pipe(Layer.provide(Environment.layer)), NodeServices.layer),
        ),
      ),
    );
  });

  it.live("does nothing without a volume", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* program(["prune", "--yes"]);
      assert.strictEqual(code, 0);
      assert.include(stdout, "There is no writable network volume");
    }).pipe(Effect.scoped),
  );
});

describe("an internal error of a command", () => {
  const broken = {
    NODE_OPTIONS:
      "--import data:text/javascript,process.availableMemory=()=>{throw%20Error(%27broken%20machine%27)}",
    RUNPOD_WEBHOOK_GET_JOB: "http://127.0.0.1:9/job-take/x",
  };

  it.live("is reported in one sentence", () =>
    Effect.gen(function* () {
      const run = yield* workerProcess(broken);
      assert.strictEqual((yield* run.ended).code, 1);
      assert.include(
        run.stderr(),
        "Internal error of worker-tetra: broken machine\nSet LOG_LEVEL=debug",
      );
      assert.notMatch(run.stderr(), /\n\s+at /);
    }).pipe(Effect.scoped),
  );

  it.live("is reported with its stack trace at log level debug", () =>
    Effect.gen(function* () {
      const run = yield* workerProcess({ ...broken, LOG_LEVEL: "debug" });
      yield* run.ended;
      assert.match(run.stderr(), /broken machine\n\s+at /);
    }).pipe(Effect.scoped),
  );
});
