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

/** What `apt-cache policy` says of all packages that there are, in the form of Debian 12. */
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

/** What apt says of the archives that it needs: two, and lines that name none. */
const URIS = `'http://mirror/curl_7_amd64.deb' curl_7_amd64.deb 1234 SHA256:${DIGEST}
'http://mirror/pool/libc6%3ai386_2.deb' libc6%3ai386_2.deb 56 SHA256:${DIGEST}
'http://mirror/x.deb' ../x.deb 1 SHA256:${DIGEST}
'http://mirror/x.deb' x.deb 1 SHA256:${DIGEST}0
'http://mirror/x.deb' x.deb 1 MD5Sum:${DIGEST}
'http://mirror/x.deb' x.deb big SHA256:${DIGEST}
'http://mirror/x.txt' x.txt 1 SHA256:${DIGEST}
`;

/** A machine whose apt can install anything that its lists have. */
const debian = (line: string): Outcome | undefined => {
  if (line === "id -u") return "0\n";
  if (line.startsWith("apt-cache ")) return POLICY;
  if (line.startsWith("apt-get -qq --print-uris ")) return URIS;
  return /^(?:apt-get (?:-q |--version$)|dpkg --configure -a$)/.test(line) ? "ok" : undefined;
};

const machine = (answer: typeof debian = debian, lists = "/nonexistent") => {
  const { lines, options, layer } = fakePrograms(answer);
  const restored: Array<readonly [archives: ReadonlyArray<Archive>, folder: string]> = [];
  const kept: Array<string> = [];
  const cache = AptCache.of({
    restore: (...given) => Effect.sync(() => restored.push(given)),
    keep: (folder) => Effect.sync(() => kept.push(folder)),
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
    kept,
    install: (...names: ReadonlyArray<string>) =>
      Effect.provide(
        Effect.flatMap(Apt, ({ install }) => install(names)),
        apt,
      ),
  };
};

/** A folder of lists with these files, which were last asked for at the start of 1970. */
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
    // The one that is installed.
    "curl=7.88.1-10+deb12u5",
    // apt leaves out the machine's own architecture.
    "curl:amd64",
    "libc6:i386",
    "libc6:i386=2.36-9",
    "awk",
  ])("installs what the lists have: %s", (name) => {
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
    // Words and numbers of the output that name no package or version.
    "table",
    "curl=500",
    "curl=100",
    "curl=7",
    "curl=2.36-9",
    "libc6:i386=-1",
    "awk=1",
  ])("asks for newer lists, and then fails, where the lists do not have it: %s", (name) => {
    const { install, lines } = machine();
    return Effect.map(Effect.flip(install("curl", name)), (error) => {
      assert.strictEqual(error._tag, "SystemInstallFailed");
      assert.isEmpty(lines.filter((line) => line.includes(" install ")));
    });
  });

  it.effect("gives the cache what apt needs, and lets it keep what apt has fetched", () => {
    const { install, lines, restored, kept } = machine();
    return Effect.map(install("curl"), () => {
      const [[archives, folder = ""] = []] = restored;
      assert.deepStrictEqual(archives, [
        { file: "curl_7_amd64.deb", size: 1234, sha256: DIGEST },
        { file: "libc6%3ai386_2.deb", size: 56, sha256: DIGEST },
      ]);
      assert.deepStrictEqual(kept, [folder]);
      assert.include(lines.at(-1), ` -o Dir::Cache::Archives=${folder} `);
      assert.match(folder, /worker-tetra-apt-/);
    });
  });

  it.effect("installs without the cache where apt does not say what it needs", () => {
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

  it.effect("asks nobody, and shows what apt does", () => {
    let cutOff = 0;
    const { install, lines, options } = machine((line) => {
      if (!/^apt-get -q .* install /.test(line)) return debian(line);
      cutOff += 1;
      return cutOff > 1 ? "done" : { exitCode: 100, output: "run dpkg --configure -a" };
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
      const shown = lines.filter((_, index) => options[index]?.live?.name === "apt");
      assert.deepStrictEqual(
        shown,
        lines.filter((line) => line.startsWith("apt-get -q ")),
      );
      assert.isNotEmpty(shown);
    });
  });

  const DAY = 24 * 60 * 60 * 1000;

  it.effect.each([
    ["no lists at all", undefined, 0, true],
    ["only other files", ["lock", "mirror_InRelease"], 0, true],
    ["lists of today", ["lock", "mirror_main_Packages"], DAY - 1, false],
    ["compressed lists of today", ["mirror_main_Packages.lz4"], DAY - 1, false],
    ["lists of yesterday", ["mirror_main_Packages"], DAY, true],
  ] as const)("asks for lists, or does not, where there are %s", ([, names, age, asks]) =>
    Effect.gen(function* () {
      const lists = names === undefined ? undefined : yield* listsWith(names);
      const { install, lines } = machine(debian, lists);
      yield* TestClock.setTime(age);
      yield* install("curl");
      assert.strictEqual(
        lines.some((line) => line.endsWith(" update")),
        asks,
      );
    }).pipe(Effect.scoped),
  );

  it.effect.each([
    ["there is no apt-get", (line: string) => line !== "apt-get --version"],
    ["it can't find out whether it is root", (line: string) => line !== "id -u"],
  ] as const)("installs nothing where %s", ([, has]) => {
    const { install, lines } = machine((line) => (has(line) ? debian(line) : undefined));
    return Effect.map(Effect.flip(install("curl")), (error) => {
      assert.deepInclude(error, { _tag: "SystemInstallFailed", packages: ["curl"] });
      assert.isEmpty(lines.filter((line) => line.startsWith("apt-get -q")));
    });
  });

  it.effect("installs nothing where there is no place for temporary files", () => {
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
