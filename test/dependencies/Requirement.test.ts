import { assert, describe, it } from "@effect/vitest";
import { Effect, Exit, Schema } from "effect";

import { pythonRequirements, systemPackages } from "../../src/dependencies/Requirement.ts";

describe("pythonRequirements", () => {
  it.effect.each([
    "numpy",
    "zope.interface",
    "numpy==2.0.1",
    "numpy >= 2, < 3",
    "numpy (>=2,<3)",
    "torch==2.5.1+cu124",
    "pkg!=1.*,~=1.2",
    "requests[security,socks]>=2.8.1",
    "tomli; python_version < '3.11'",
    'uvicorn[standard]==0.30 ; sys_platform == "linux" and python_version>="3.9"',
    "pip @ https://example.com/pip-24.0-py3-none-any.whl",
    "git+https://github.com/owner/repo.git@v1.0#subdirectory=sub",
    "pkg @ git+ssh://git@github.com/owner/repo.git@main",
    "https://user:token@index.example/pkg-1.0.tar.gz",
    "pkg @ https://example.com/pkg.whl ; python_version > '3'",
    "A",
    "a1",
    "  spaced  ",
    "numpy  >=  2",
    "a".repeat(2048),
  ])("accepts %j", (requirement) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* pythonRequirements([requirement]), [requirement.trim()]);
    }),
  );

  it.effect.each([
    ["--index-url=https://evil.example", "option"],
    ["-r /etc/passwd", "option"],
    ["-e .", "option"],
    [" --pre", "option"],
    ["numpy\n--index-url=https://evil.example", "line break"],
    ["numpy\r-r x", "line break"],
    ["numpy\0", "control character"],
    ["numpy\u2028x", "line break"],
    ["", "empty"],
    ["  ", "empty"],
    ["./local", "local path"],
    ["/etc/passwd", "local path"],
    ["../x.whl", "local path"],
    ["pkg @ file:///etc/passwd", "local path"],
    ["file:///x.whl", "local path"],
    ["pkg @ ../x", "local path"],
    ["numpy --hash=x", "PEP 508"],
    ["numpy # comment", "PEP 508"],
    ["numpy pandas", "PEP 508"],
    ["numpy==", "PEP 508"],
    ["$(reboot)", "PEP 508"],
    ["numpy;\u0000", "control character"],
    ["numpy\u0085", "control character"],
    ["numpy\u00a0>=2", "unusual space"],
    ["num\u200bpy", "control character"],
    ["numpy\u202e", "control character"],
    ["pkg @ https://example.com/\ud800", "control character"],
    ["a".repeat(2049), "too long"],
    ["local-1.0.tar.gz", "an archive"],
    ["local-1.0-py3-none-any.whl", "an archive"],
    ["local.WHL", "an archive"],
    ["local.zip[extra]", "an archive"],
    ["local.tar.gz==1.0", "an archive"],
    ["local.tgz ; python_version > '3'", "an archive"],
    ["local-1.0.tar", "an archive"],
    ["local-1.0.tar.zst", "an archive"],
    ["local-1.0.tbz2", "an archive"],
    ["local.whl @ https://example.com/local-1.0-py3-none-any.whl", "an archive"],
    ["FILE:///x.whl", "local path"],
    ["pkg @ File:///etc/passwd", "local path"],
    ["C:\\x.whl", "local path"],
    ["git+file:///repo", "PEP 508"],
    ["dir/local", "PEP 508"],
  ] as const)("rejects %j with a reason", ([requirement, reason]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(pythonRequirements(["fine", requirement]));
      assert.include(error.message, reason);
      assert.include(error.message, "dependencies");
    }),
  );

  it.effect("accepts names of packages that look like files", () =>
    Effect.gen(function* () {
      const names = ["discord.py", "ruamel.yaml", "tarfile2", "zipp", "web.py==0.62"];
      assert.sameMembers([...(yield* pythonRequirements(names))], names);
    }),
  );

  it.effect("shows no part of a password in a rejected requirement", () =>
    Effect.gen(function* () {
      const password = "p".repeat(150);
      const requirement = `numpy ${"x".repeat(100)} https://me:${password}@index.example/simple`;
      const error = yield* Effect.flip(pythonRequirements([requirement]));
      assert.notInclude(error.message, "pppp");
      assert.include(error.message, "index.example/simple");
    }),
  );

  it.effect.each([
    `a${" ".repeat(2046)}!`,
    `a==1${" ".repeat(2043)}!`,
    `${"a".repeat(2046)}!`,
    `a[${"b,".repeat(1000)}!`,
    `a${"==1,".repeat(500)}!`,
    `a @${" @".repeat(1000)}!`,
    `${"@ ".repeat(1000)}`,
  ])("checks 512 long requirements in less than a second: %#", (requirement) =>
    Effect.gen(function* () {
      const before = process.cpuUsage();
      for (let turn = 0; turn < 512; turn += 1) {
        yield* Effect.flip(pythonRequirements([requirement]));
      }
      assert.isBelow(process.cpuUsage(before).user / 1000, 1000);
    }),
  );

  it.effect("accepts 512 requirements and rejects a longer list", () =>
    Effect.gen(function* () {
      const names = Array.from({ length: 512 }, (_, at) => `a${at}`);
      assert.lengthOf(yield* pythonRequirements(names), 512);
      const error = yield* Effect.flip(pythonRequirements([...names, "a"]));
      assert.include(error.message, "too many");
    }),
  );

  it.effect("returns the same list for the same packages in another order", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(
        yield* pythonRequirements(["b", "a", "b "]),
        yield* pythonRequirements(["a", "b"]),
      );
    }),
  );

  it.effect.prop("rejects all options and texts with two lines", [Schema.String], ([text]) =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(pythonRequirements([text, `-${text}`]));
      assert.isTrue(Exit.isFailure(exit));
      const alone = yield* Effect.exit(pythonRequirements([text]));
      if (Exit.isSuccess(alone)) assert.match(String(alone.value), /^[A-Za-z0-9][^\r\n\0]*$/);
    }),
  );
});

describe("systemPackages", () => {
  it.effect.each([
    "ffmpeg",
    "libgl1",
    "g++",
    "libstdc++6",
    "libc6:amd64",
    "curl=7.88.1-10+deb12u1",
    "0ad",
    "  spaced  ",
  ])("accepts %j", (name) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* systemPackages([name]), [name.trim()]);
    }),
  );

  it.effect("returns sorted packages without duplicates", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* systemPackages(["git", "ffmpeg", " git"]), ["ffmpeg", "git"]);
    }),
  );

  it.effect("accepts 512 packages and rejects a longer list", () =>
    Effect.gen(function* () {
      const names = Array.from({ length: 512 }, (_, at) => `lib${at}`);
      assert.lengthOf(yield* systemPackages(names), 512);
      const error = yield* Effect.flip(systemPackages([...names, "git"]));
      assert.include(error.message, "too many");
    }),
  );

  it.effect.each([
    "-oDPkg::Pre-Invoke=reboot",
    "--purge",
    "ffmpeg-",
    "a b",
    "a;b",
    "./x.deb",
    "/x.deb",
    "A",
    "a\nb",
    "",
    "ffmpeg/testing",
    "a*",
    "a",
    "^task",
    "task^",
    "~nffmpeg",
    "?name(ffmpeg)",
    "ffmpeg:amd64-",
    "ffmpeg=7-",
    "ffmpeg=7*",
    "ffmpeg$",
    "lib[a-z]",
    "lib|ffmpeg",
    "f\u00f6o",
    "ffmpeg\u00a0curl",
    "ffmpeg\0",
  ])("rejects %j", (name) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(systemPackages([name]));
      assert.include(error.message, "system_dependencies");
    }),
  );

  it.effect("explains why a minus at the end of a name is rejected", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(systemPackages(["ffmpeg-"]));
      assert.include(error.message, '"ffmpeg-" would make apt remove a package');
    }),
  );
});
