import { mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { assert, describe, it, vi } from "@effect/vitest";
import { Effect, Layer } from "effect";
import { TestClock } from "effect/testing";

import { Apt } from "../../../src/dependencies/apt/Apt.ts";
import { type Archive, AptCache } from "../../../src/dependencies/apt/AptCache.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { fakePrograms, type Outcome } from "../../support/fakes/FakePrograms.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";

/** The output of `apt-cache policy` for all known packages, in the format of Debian 12. */
const POLICY = `curl:
  Installed: 7.88.1-10+deb12u5
  Candidate: 7.88.1-10+deb12u7
  Version table:
     7.88.1-10+deb12u7 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
 *** 7.88.1-10+deb12u5 100
        100 /var/lib/dpkg/status
libc6:i386:
  Installed: (none)
  Candidate: 2.36-9
  Version table:
     2.36-9 -1
        500 http://deb.debian.org/debian bookworm/main i386 Packages
awk:
  Installed: (none)
  Candidate: (none)
  Version table:
`;

const DIGEST = "0123456789abcdef".repeat(4);

/** The output of `apt-get --print-uris` with two archives and invalid lines. */
const URIS = `'http://mirror/curl_7_amd64.deb' curl_7_amd64.deb 1234 SHA256:${DIGEST}
'http://mirror/pool/libc6%3ai386_2.deb' libc6%3ai386_2.deb 56 SHA256:${DIGEST}
'http://mirror/x.deb' ../x.deb 1 SHA256:${DIGEST}
'http://mirror/x.deb' x.deb 1 SHA256:${DIGEST}0
'http://mirror/x.deb' x.deb 1 MD5Sum:${DIGEST}
'http://mirror/x.deb' x.deb big SHA256:${DIGEST}
'http://mirror/x.txt' x.txt 1 SHA256:${DIGEST}
`;

/** A Debian whose apt can install all packages of POLICY. */
const debian = (line: string): Outcome | undefined => {
  if (line === "id -u") return "0\n";
  if (line.startsWith("apt-cache ")) return POLICY;
  if (line.startsWith("apt-get -qq --print-uris ")) return URIS;
  return /^(?:apt-get (?:-q |--version$)|dpkg --configure -a$)/.test(line) ? "ok" : undefined;
};

const machine = (programs: typeof debian = debian, lists = "/nonexistent") => {
  const { lines, options, layer } = fakePrograms(programs);
  const restored: Array<readonly [archives: ReadonlyArray<Archive>, folder: string]> = [];
  const cached: Array<string> = [];
  const cache = AptCache.of({
    restore: (...given) => Effect.sync(() => restored.push(given)),
    store: (folder) => Effect.sync(() => cached.push(folder)),
  });
  const apt = Apt.layerNoDeps.pipe(
    Layer.provide([
      Layer.succeed(AptCache, cache),
      layer,
      Environment.layerOf({ WORKER_APT_LISTS: lists }),
      NodeServices.layer,
    ]),
  );
  return {
    lines,
    options,
    restored,
    cached,
    install: (...names: ReadonlyArray<string>) =>
      Effect.provide(
        Effect.flatMap(Apt, ({ install }) => install(names)),
        apt,
      ),
  };
};

/** A folder of lists with these files, which were updated at the start of 1970. */
const listsWith = Effect.fnUntraced(function* (names: ReadonlyArray<string>) {
  const folder = yield* temporaryFolder;
  for (const name of names) writeFileSync(join(folder, name), "");
  mkdirSync(join(folder, "partial"));
  utimesSync(join(folder, "partial"), 0, 0);
  return folder;
});

describe("Apt", () => {
  it.effect.each([
    "curl",
    "curl=7.88.1-10+deb12u7",
    // The installed version.
    "curl=7.88.1-10+deb12u5",
    // apt omits the architecture of the machine.
    "curl:amd64",
    "libc6:i386",
    "libc6:i386=2.36-9",
    "awk",
  ])("installs %s, which the lists have", (name) => {
    const { install, lines } = machine();
    return Effect.map(install("curl", name), () => {
      assert.isTrue(lines.at(-1)?.endsWith(` -- curl ${name}`));
    });
  });

  it.effect.each([
    "nonsense",
    "curl:i386x=1",
    "libc6",
    "libc6:amd64",
    // Words and numbers of the output that are not packages or versions.
    "table",
    "curl=500",
    "curl=100",
    "curl=7",
    "curl=2.36-9",
    "libc6:i386=-1",
    "awk=1",
  ])("updates the lists and fails for %s, which they do not have", (name) => {
    const { install, lines } = machine();
    return Effect.map(Effect.flip(install("curl", name)), (error) => {
      assert.strictEqual(error._tag, "SystemInstallFailed");
      assert.isEmpty(lines.filter((line) => line.includes(" install ")));
    });
  });

  it.effect("restores needed archives from the cache, and stores downloaded ones", () => {
    const { install, lines, restored, cached } = machine();
    return Effect.map(install("curl"), () => {
      const [[archives, folder = ""] = []] = restored;
      assert.deepStrictEqual(archives, [
        { file: "curl_7_amd64.deb", size: 1234, sha256: DIGEST },
        { file: "libc6%3ai386_2.deb", size: 56, sha256: DIGEST },
      ]);
      assert.deepStrictEqual(cached, [folder]);
      assert.include(lines.at(-1), ` -o Dir::Cache::Archives=${folder} `);
      assert.match(folder, /worker-tetra-apt-/);
    });
  });

  it.effect("installs without the cache if apt does not print the archives", () => {
    const { install, restored } = machine((line) =>
      line.includes("--print-uris") ? { exitCode: 100, output: "" } : debian(line),
    );
    return Effect.map(install("curl"), () => {
      assert.deepStrictEqual(
        restored.map(([archives]) => archives),
        [[]],
      );
    });
  });

  it.effect("disables questions, and logs the output of apt", () => {
    let installs = 0;
    const { install, lines, options } = machine((line) => {
      if (!/^apt-get -q .* install /.test(line)) return debian(line);
      installs += 1;
      return installs > 1 ? "done" : { exitCode: 100, output: "run dpkg --configure -a" };
    });
    return Effect.map(install("curl"), () => {
      for (const [index, line] of lines.entries()) {
        if (!/^(?:apt-cache|apt-get -|dpkg )/.test(line) || line.endsWith("--version")) continue;
        assert.deepInclude(
          options[index]?.environment,
          { DEBIAN_FRONTEND: "noninteractive" },
          line,
        );
      }
      const logged = lines.filter((_, index) => options[index]?.live?.name === "apt");
      assert.deepStrictEqual(
        logged,
        lines.filter((line) => line.startsWith("apt-get -q ")),
      );
      assert.isNotEmpty(logged);
    });
  });

  const DAY = 24 * 60 * 60 * 1000;

  it.effect.each([
    ["no lists at all", undefined, 0, true],
    ["only other files", ["lock", "mirror_InRelease"], 0, true],
    ["lists of today", ["lock", "mirror_main_Packages"], DAY - 1, false],
    ["compressed lists of today", ["mirror_main_Packages.lz4"], DAY - 1, false],
    ["lists of yesterday", ["mirror_main_Packages"], DAY, true],
  ] as const)("updates only missing or outdated lists: %s", ([, names, age, updates]) =>
    Effect.gen(function* () {
      const lists = names === undefined ? undefined : yield* listsWith(names);
      const { install, lines } = machine(debian, lists);
      yield* TestClock.setTime(age);
      yield* install("curl");
      assert.strictEqual(
        lines.some((line) => line.endsWith(" update")),
        updates,
      );
    }).pipe(Effect.scoped),
  );

  it.effect.each([
    ["there is no apt-get", (line: string) => line !== "apt-get --version"],
    ["the user is unknown", (line: string) => line !== "id -u"],
  ] as const)("installs nothing if %s", ([, has]) => {
    const { install, lines } = machine((line) => (has(line) ? debian(line) : undefined));
    return Effect.map(Effect.flip(install("curl")), (error) => {
      assert.deepInclude(error, { _tag: "SystemInstallFailed", packages: ["curl"] });
      assert.isEmpty(lines.filter((line) => line.startsWith("apt-get -q")));
    });
  });

  it.effect("installs nothing without a temporary folder", () => {
    const { install, lines } = machine();
    return Effect.gen(function* () {
      yield* Effect.acquireRelease(
        Effect.sync(() => vi.stubEnv("TMPDIR", "/nonexistent")),
        () => Effect.sync(() => vi.unstubAllEnvs()),
      );
      const error = yield* Effect.flip(install("curl"));
      assert.include(error.message, "/nonexistent");
      assert.isEmpty(lines.filter((line) => line.startsWith("apt-get -q")));
    }).pipe(Effect.scoped);
  });
});
