import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { call, realWorker } from "../../support/processes/RealWorker.ts";

/** A small package without dependents. */
const PACKAGE = "hello";

/** Whether this is Debian, the user is root, and the package is not installed. */
const canInstall =
  process.getuid?.() === 0 &&
  spawnSync("apt-get", ["--version"]).status === 0 &&
  spawnSync("dpkg-query", ["-W", PACKAGE]).status !== 0;

const remove = Effect.sync(() => {
  // An interrupted dpkg must be completed first.
  execFileSync("dpkg", ["--configure", "-a"], { stdio: "ignore" });
  execFileSync("apt-get", ["-qq", "-y", "-o", "DPkg::Lock::Timeout=60", "purge", PACKAGE], {
    stdio: "ignore",
  });
});

const HELLO = `import subprocess
def f(): return subprocess.check_output(["${PACKAGE}"], text=True)`;

const helloWith = (name: string) => call(HELLO, "f", [], { system_dependencies: [name] });

const hello = helloWith(PACKAGE);

/** A worker with separate folders of apt, like a new container, on a shared volume. */
const container = (folder: string, name: string, online: boolean) => {
  const lists = join(folder, name, "lists");
  mkdirSync(lists, { recursive: true });
  const configuration = join(folder, name, "apt.conf");
  const proxy = 'Acquire::http::Proxy "http://127.0.0.1:9";';
  writeFileSync(
    configuration,
    `Dir::State::lists "${lists}";\nDir::Cache "${join(folder, name)}";\n${online ? "" : proxy}\n`,
  );
  return realWorker({
    APT_CONFIG: configuration,
    WORKER_APT_LISTS: lists,
    RUNPOD_VOLUME_PATH: join(folder, "volume"),
  });
};

describe.skipIf(!canInstall)("system packages (as root on Debian)", () => {
  it.live(
    "are installed before the code runs, and the next container uses the cache on the volume",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder;
        yield* Effect.addFinalizer(() => remove);
        mkdirSync(join(folder, "volume"));
        const response = yield* Effect.provide(hello, container(folder, "first", true));
        assert.deepStrictEqual([response.json_result, response.error], ["Hello, world!\n", null]);
        const names = readdirSync(join(folder, "volume", ".apt-cache"));
        const cache = names.find((name) => name !== "CACHEDIR.TAG") ?? "";
        const archives = join(folder, "volume", ".apt-cache", cache, "archives");
        assert.match(readdirSync(archives).join(" "), /^hello_\S+\.deb$/);

        yield* remove;
        // The second container has lists, but no mirror.
        cpSync(join(folder, "first", "lists"), join(folder, "second", "lists"), {
          recursive: true,
        });
        const again = yield* Effect.provide(hello, container(folder, "second", false));
        assert.deepStrictEqual([again.json_result, again.error], ["Hello, world!\n", null]);

        // A damaged archive on the volume: same size, other content.
        yield* remove;
        const [deb = ""] = readdirSync(archives);
        const size = Number(
          execFileSync("stat", ["-c", "%s", join(archives, deb)], { encoding: "utf8" }),
        );
        writeFileSync(join(archives, deb), Buffer.alloc(size));
        // Lists on the volume must not be used, since they could contain any digest.
        const lists = join(folder, "lists");
        mkdirSync(join(lists, "partial"), { recursive: true });
        writeFileSync(join(lists, "evil_Packages"), "Package: evil\n");
        const tar = join(folder, "volume", ".apt-cache", cache, "lists.tar");
        execFileSync("tar", ["-cf", tar, "-C", lists, "."]);
        const [, version = ""] = deb.split("_");
        const fetched = yield* Effect.provide(
          helloWith(`${PACKAGE}=${version}`),
          container(folder, "third", true),
        );
        assert.strictEqual(fetched.json_result, "Hello, world!\n");
        assert.notInclude(readdirSync(join(folder, "third", "lists")), "evil_Packages");
        // The unusable archive was replaced.
        assert.isTrue(readFileSync(join(archives, deb)).some((byte) => byte !== 0));
      }).pipe(Effect.scoped),
  );

  it.live.each(["hell.", "hello+", "hello=9"])(
    "are found only by their exact names: %s fails the job",
    (name) =>
      Effect.gen(function* () {
        const response = yield* call("def f(): return 1", "f", [], { system_dependencies: [name] });
        assert.isFalse(response.success);
        assert.match(String(response.error), /there is no package named|that version is not/);
        assert.include(response.error, name.replace(/[=:].*/, ""));
        assert.notStrictEqual(spawnSync("dpkg-query", ["-W", PACKAGE]).status, 0);
      }).pipe(Effect.provide(realWorker())),
  );

  it.live("that do not exist fail the job with apt's message", () =>
    Effect.gen(function* () {
      const response = yield* call("def f(): return 1", "f", [], {
        system_dependencies: ["no-such-package-at-all"],
      });
      assert.isFalse(response.success);
      assert.include(response.error, "there is no package named no-such-package-at-all");
      assert.include(response.error, "E: Unable to locate package");
    }).pipe(Effect.provide(realWorker())),
  );
});
