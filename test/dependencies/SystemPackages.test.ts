import { NodeServices } from "@effect/platform-node";
import { assert, describe, it } from "@effect/vitest";
import { Deferred, Effect, Fiber, FileSystem, Layer, Path } from "effect";
import { TestClock } from "effect/testing";

import { SystemPackages } from "../../src/dependencies/SystemPackages.ts";
import { Apt } from "../../src/dependencies/apt/Apt.ts";
import { AptCache } from "../../src/dependencies/apt/AptCache.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { turns } from "../support/effects/Interruption.ts";
import { advanceUntilDone } from "../support/effects/Waiting.ts";
import { fakePrograms, type Outcome } from "../support/fakes/FakePrograms.ts";

/** The outcome of a program by its command line. */
type Programs = (line: string) => Outcome | undefined;

/** The output of `apt-cache policy` by package; none for `name=version`. */
const POLICY: Readonly<Record<string, string>> = {
  curl: "curl:\n  Installed: 7.88.1-10\n  Version table:\n     8 500\n        500 http://mirror main\n *** 7.88.1-10 100\n",
  ffmpeg: "ffmpeg:\n  Installed: (none)\n  Version table:\n     7:5.1 500\n",
  // apt omits the architecture of the machine.
  "libc6:amd64": "libc6:\n  Installed: (none)\n  Version table:\n     2.36 500\n",
  "g++": "g++:\n  Installed: (none)\n  Version table:\n     4:12 500\n",
  // Older releases of apt read an unknown name as a pattern.
  "pyth.n3": "python3:\n  Installed: (none)\n  Version table:\n     3.11 500\n",
};

/** A Debian on which curl is installed, and whose mirrors also have ffmpeg and g++. */
const debian: Programs = (line) => {
  if (line.startsWith("dpkg-query")) {
    return line.endsWith(" curl")
      ? "installed 7.88.1-10"
      : { exitCode: 1, output: "no packages found" };
  }
  if (line === "id -u") return "0\n";
  if (line.startsWith("apt-cache")) {
    return line
      .slice(line.indexOf(" -- ") + 4)
      .split(" ")
      .map((name) => POLICY[name] ?? "")
      .join("");
  }
  if (line.includes("install")) {
    return / -- (?:ffmpeg|g\+\+|curl=8|libc6:amd64)(?: |$)/.test(line)
      ? "done"
      : { exitCode: 100, output: "E: Unable to locate package nonsense" };
  }
  return line.startsWith("apt-get") ? "ok" : undefined;
};

/** A Debian whose first installs fail with an output. */
const failingFirst = (times: number, output: string): Programs => {
  let remaining = times;
  return (line) => {
    if (!line.startsWith("apt-get -q ") || !line.includes(" install ")) {
      return line === "dpkg --configure -a" ? "ok" : debian(line);
    }
    remaining -= 1;
    return remaining >= 0 ? { exitCode: 100, output } : debian(line);
  };
};

const noCache = Layer.succeed(
  AptCache,
  AptCache.of({
    restore: () => Effect.void,
    store: () => Effect.void,
  }),
);

const setUp = (programs: Programs, lists = "none") => {
  const { lines, layer } = fakePrograms(programs);
  return {
    lines,
    /** The arguments of apt-get, without its options. */
    apt: () =>
      lines
        .filter((line) => line.startsWith("apt-get -q "))
        .map((line) => line.replace(/^apt-get -q (?:-o \S+ )*/, "")),
    provide: Effect.provide(
      SystemPackages.layerNoDeps.pipe(
        Layer.provide(Apt.layerNoDeps),
        Layer.provide([
          noCache,
          layer,
          Environment.layerOf({ WORKER_APT_LISTS: lists }),
          NodeServices.layer,
        ]),
      ),
    ),
  };
};

const ensure = (...names: ReadonlyArray<string>) =>
  Effect.flatMap(SystemPackages, (packages) => packages.ensure(names));

const INSTALL = "install -y --no-install-recommends --";

describe("SystemPackages", () => {
  it.effect("does not run apt for installed packages", () => {
    const { apt, provide } = setUp(debian);
    return Effect.gen(function* () {
      assert.deepStrictEqual(yield* ensure("curl", "curl=7.88.1-10"), []);
      assert.isEmpty(apt());
    }).pipe(provide);
  });

  it.effect("updates missing lists and installs missing packages, each once", () => {
    const { apt, provide } = setUp(debian);
    return Effect.gen(function* () {
      assert.deepStrictEqual(yield* ensure("curl", "ffmpeg"), ["ffmpeg"]);
      assert.deepStrictEqual(yield* ensure("ffmpeg"), []);
      assert.deepStrictEqual(apt(), ["update", `${INSTALL} ffmpeg`]);
    }).pipe(provide);
  });

  it.effect("does not update lists that apt updated within a day", () =>
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const path = yield* Path.Path;
      const lists = yield* files.makeTempDirectoryScoped();
      const list = path.join(lists, "mirror_main_Packages.lz4");
      yield* files.writeFileString(list, "");
      // Lists have the modification time of the mirror, which may be old.
      yield* files.utimes(list, 0, 0);
      yield* files.makeDirectory(path.join(lists, "partial"));
      const { apt, provide } = setUp(debian, lists);
      yield* ensure("ffmpeg").pipe(provide);
      assert.deepStrictEqual(apt(), [`${INSTALL} ffmpeg`]);
    }).pipe(Effect.provide(NodeServices.layer)),
  );

  it.effect("installs another version than the installed one if requested", () => {
    const { apt, provide } = setUp(debian);
    return Effect.gen(function* () {
      assert.deepStrictEqual(yield* ensure("curl=8"), ["curl=8"]);
      assert.include(apt().at(-1), "curl=8");
    }).pipe(provide);
  });

  it.effect.each([
    ["pyth.n3", "there is no package named pyth.n3"],
    ["ffmpeg+", "there is no package named ffmpeg+"],
    ["local-1.0.tar.gz", "there is no package named local-1.0.tar.gz"],
    ["curl=9", "that version"],
    ["curl=8+", "that version"],
  ] as const)("rejects %j instead of a pattern match by apt", ([name, reason]) => {
    const { apt, lines, provide } = setUp(debian);
    return Effect.gen(function* () {
      const error = yield* Effect.flip(ensure("g++", name));
      assert.include(error.message, reason);
      assert.include(error.message, name.replace(/=.*/, ""));
      // The second update is for newer lists.
      assert.deepStrictEqual(apt(), ["update", "update"].slice(0, apt().length));
      assert.isEmpty(lines.filter((line) => line.includes(" install ")));
    }).pipe(provide);
  });

  it.effect("installs a package of a given architecture", () => {
    const { apt, lines, provide } = setUp(debian);
    return Effect.gen(function* () {
      assert.deepStrictEqual(yield* ensure("libc6:amd64"), ["libc6:amd64"]);
      assert.strictEqual(apt().at(-1), `${INSTALL} libc6:amd64`);
      // No program can read the name as an option.
      for (const line of lines.filter((one) => one.includes("libc6"))) {
        assert.isTrue(line.endsWith(" -- libc6:amd64"), line);
      }
    }).pipe(provide);
  });

  it.effect("updates the lists and retries when a mirror no longer has a file", () => {
    const { apt, provide } = setUp(failingFirst(1, "E: Failed to fetch x.deb  404  Not Found"));
    return Effect.gen(function* () {
      yield* ensure("ffmpeg");
      assert.deepStrictEqual(apt(), ["update", `${INSTALL} ffmpeg`, "update", `${INSTALL} ffmpeg`]);
    }).pipe(provide);
  });

  it.effect("completes an install of an interrupted dpkg", () => {
    const { lines, provide } = setUp(
      failingFirst(1, "E: dpkg was interrupted, you must manually run 'dpkg --configure -a'"),
    );
    return Effect.gen(function* () {
      assert.deepStrictEqual(yield* ensure("ffmpeg"), ["ffmpeg"]);
      assert.include(lines, "dpkg --configure -a");
    }).pipe(provide);
  });

  const LOCKED =
    "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt-get)\n";

  it.effect("waits for the lock of another apt, for a limited time", () => {
    const short = setUp(failingFirst(3, LOCKED));
    const long = setUp(failingFirst(1000, LOCKED));
    return Effect.gen(function* () {
      assert.deepStrictEqual(yield* advanceUntilDone(ensure("ffmpeg").pipe(short.provide)), [
        "ffmpeg",
      ]);
      const error = yield* advanceUntilDone(Effect.flip(ensure("ffmpeg").pipe(long.provide)));
      assert.include(error.message, "process 7 (apt-get)");
    });
  });

  it.effect("continues the install of a cancelled job, and does not run two at a time", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>();
      const open = yield* Deferred.make<void>();
      let ended = 0;
      const slow = Apt.of({
        install: () =>
          Deferred.succeed(begun, undefined).pipe(
            Effect.andThen(Deferred.await(open)),
            Effect.tap(() => Effect.sync(() => (ended += 1))),
          ),
      });
      const { layer } = fakePrograms(debian);
      yield* Effect.gen(function* () {
        const job = yield* Effect.forkChild(ensure("ffmpeg"));
        yield* Deferred.await(begun);
        yield* Fiber.interrupt(job);
        const next = yield* Effect.forkChild(ensure("ffmpeg"));
        yield* Deferred.succeed(open, undefined);
        yield* Fiber.join(next);
        assert.isAtLeast(ended, 1);
      }).pipe(
        Effect.provide(
          SystemPackages.layerNoDeps.pipe(
            Layer.provide([Layer.succeed(Apt, slow), layer, Environment.layerOf({})]),
          ),
        ),
      );
    }),
  );

  it.effect(
    "fails after WORKER_INSTALL_TIMEOUT, and uses the packages when the install ends later",
    () =>
      Effect.gen(function* () {
        const open = yield* Deferred.make<void>();
        const slow = Apt.of({ install: () => Deferred.await(open) });
        const { layer } = fakePrograms(debian);
        yield* Effect.gen(function* () {
          assert.isEmpty(yield* ensure("curl"));
          const job = yield* Effect.forkChild(Effect.flip(ensure("ffmpeg")));
          yield* TestClock.adjust("5 seconds");
          const error = yield* Fiber.join(job);
          assert.deepInclude(error, { _tag: "SystemInstallFailed", packages: ["ffmpeg"] });
          assert.include(error.message, "WORKER_INSTALL_TIMEOUT");
          // A job whose packages are installed does not wait.
          assert.isEmpty(yield* ensure("curl"));
          yield* Deferred.succeed(open, undefined);
          yield* Effect.yieldNow;
          assert.isEmpty(yield* ensure("ffmpeg"));
        }).pipe(
          Effect.provide(
            SystemPackages.layerNoDeps.pipe(
              Layer.provide([
                Layer.succeed(Apt, slow),
                layer,
                Environment.layerOf({ WORKER_INSTALL_TIMEOUT: "5" }),
              ]),
            ),
          ),
        );
      }),
  );

  it.effect.each<readonly [string, Programs, string, string]>([
    ["an unknown package", debian, "nonsense", "there is no package named nonsense"],
    [
      "a user other than root",
      (line) => (line === "id -u" ? "1000\n" : debian(line)),
      "ffmpeg",
      "only root can",
    ],
    [
      "a system without apt",
      (line) => (line.startsWith("apt-get") ? undefined : debian(line)),
      "ffmpeg",
      "no apt-get",
    ],
    [
      "unreachable mirrors",
      (line) =>
        line.endsWith("update")
          ? { exitCode: 100, output: "Temporary failure resolving 'x'" }
          : debian(line),
      "ffmpeg",
      "can't be reached",
    ],
    [
      "a full disk",
      failingFirst(9, "dpkg: error: No space left on device"),
      "ffmpeg",
      "disk is full",
    ],
    [
      "conflicting packages",
      failingFirst(9, "E: Unable to correct problems, you have held broken packages."),
      "ffmpeg",
      "conflict",
    ],
    ["another failure", failingFirst(9, "E: something else"), "ffmpeg", "exited with code 100"],
  ])("reports %s", ([, programs, name, reason]) => {
    const { provide } = setUp(programs);
    return Effect.gen(function* () {
      const error = yield* Effect.flip(ensure(name));
      assert.include(error.message, reason);
      assert.include(error.message, name);
    }).pipe(provide);
  });

  it.effect("runs no program for a list with an invalid name", () => {
    const { apt, provide } = setUp(debian);
    return Effect.gen(function* () {
      const error = yield* Effect.flip(ensure("ffmpeg", "-oDPkg::Pre-Invoke=x"));
      assert.strictEqual(error._tag, "RequirementRejected");
      assert.isEmpty(apt());
    }).pipe(provide);
  });

  it.effect("runs one apt at a time", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>();
      const open = yield* Deferred.make<void>();
      let running = 0;
      let most = 0;
      const slow = Apt.of({
        install: () =>
          Effect.gen(function* () {
            running += 1;
            most = Math.max(most, running);
            yield* Deferred.succeed(begun, undefined);
            yield* Deferred.await(open);
            running -= 1;
          }),
      });
      const { layer } = fakePrograms(debian);
      yield* Effect.gen(function* () {
        const jobs = yield* Effect.forEach(["ffmpeg", "g++"], (name) =>
          Effect.forkChild(ensure(name)),
        );
        yield* Deferred.await(begun);
        yield* turns(50);
        assert.strictEqual(running, 1);
        yield* Deferred.succeed(open, undefined);
        yield* Effect.forEach(jobs, Fiber.join);
        assert.strictEqual(most, 1);
      }).pipe(
        Effect.provide(
          SystemPackages.layerNoDeps.pipe(
            Layer.provide([Layer.succeed(Apt, slow), layer, Environment.layerOf({})]),
          ),
        ),
      );
    }),
  );

  it.effect("disables patterns in names for apt", () => {
    const { lines, provide } = setUp(debian);
    return Effect.gen(function* () {
      yield* ensure("ffmpeg");
      const installs = lines.filter((line) => line.includes(" install "));
      assert.isNotEmpty(installs);
      for (const line of installs) assert.include(line, "-o APT::Cmd::Pattern-Only=true ");
    }).pipe(provide);
  });
});
