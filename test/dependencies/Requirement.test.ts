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
  ])("takes %j", (requirement) =>
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
    ["./local", "file on some machine"],
    ["/etc/passwd", "file on some machine"],
    ["../x.whl", "file on some machine"],
    ["pkg @ file:///etc/passwd", "file on some machine"],
    ["file:///x.whl", "file on some machine"],
    ["pkg @ ../x", "file on some machine"],
    ["numpy --hash=x", "PEP 508"],
    ["numpy # comment", "PEP 508"],
    ["numpy pandas", "PEP 508"],
    ["numpy==", "PEP 508"],
    ["$(reboot)", "PEP 508"],
    ["numpy;\u0000", "control character"],
    ["a".repeat(3000), "too long"],
  ] as const)("refuses %j, and says why", ([requirement, reason]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(pythonRequirements(["fine", requirement]));
      assert.include(error.message, reason);
      assert.include(error.message, "dependencies");
    }),
  );

  it.effect("refuses an endless list", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(pythonRequirements(Array.from({ length: 1000 }, () => "a")));
      assert.include(error.message, "too many");
    }),
  );

  it.effect("is the same for the same packages in another order", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(
        yield* pythonRequirements(["b", "a", "b "]),
        yield* pythonRequirements(["a", "b"]),
      );
    }),
  );

  it.effect.prop("lets nothing through that is an option or two lines", [Schema.String], ([text]) =>
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
  ])("takes %j", (name) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* systemPackages([name]), [name]);
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
  ])("refuses %j", (name) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(systemPackages([name]));
      assert.include(error.message, "system_dependencies");
    }),
  );
});
