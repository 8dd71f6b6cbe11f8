import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { Effect, FileSystem, Layer } from "effect";

import { PythonPackages } from "../../src/dependencies/PythonPackages.ts";
import { Programs } from "../../src/platform/programs/Programs.ts";
import { Environment } from "../../src/settings/Environment.ts";
import { Uv } from "../../src/venv/Uv.ts";
import { LINK_MODE } from "../../src/venv/uv/UvEnvironment.ts";
import { Workspace } from "../../src/workspace/Workspace.ts";
import { compare, median, milliseconds, timed } from "./Pairs.ts";

/** Typical requirements of a job: a few names and versions. */
const LIST = ["six==1.16.0", "attrs>=22", "toolz"] as const;

/** Packages of a small image. */
const IMAGE_PACKAGES = 200;

const tools = Layer.merge(Uv.layer, Programs.layer).pipe(
  Layer.provide(Environment.layerOf(process.env)),
);

const folder = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  return yield* files.makeTempDirectoryScoped({ prefix: "worker-tetra-packages-" });
});

/** uv makes copies, as in the worker. */
const CACHE = {
  UV_CACHE_DIR: join(tmpdir(), "worker-tetra-bench-uv"),
  UV_LINK_MODE: LINK_MODE,
} as const;

/** The part of a worker that installs packages, in a separate workspace. */
const worker = (workspace: string, settings: Readonly<Record<string, string>> = {}) =>
  Layer.fresh(
    Layer.merge(PythonPackages.layer, Workspace.layer).pipe(
      Layer.provide(
        Environment.layerOf({
          ...process.env,
          ...CACHE,
          RUNPOD_VOLUME_PATH: "/nonexistent",
          WORKER_APP_PATH: "/nonexistent",
          WORKER_WORKSPACE_PATH: workspace,
          ...settings,
        }),
      ),
    ),
  );

const ensure = Effect.gen(function* () {
  const packages = yield* PythonPackages;
  return yield* packages.ensure(LIST, yield* (yield* Workspace).ready);
});

/** `uv pip install` of the list, without the worker. */
const plain = Effect.fnUntraced(function* (python: string) {
  const uv = yield* (yield* Uv).command;
  const { run } = yield* Programs;
  yield* run(uv, ["pip", "install", "-q", "--python", python, ...LIST], { environment: CACHE });
});

export const packagesAgain = Effect.gen(function* () {
  const place = yield* folder;
  return yield* Effect.gen(function* () {
    yield* ensure;
    const install = plain((yield* (yield* Workspace).ready).python);
    const { ours, baseline, pairs } = yield* compare(30, timed(ensure), timed(install));
    const share = (100 * median(ours)) / median(baseline);
    return {
      what: `packages requested before (${pairs} pairs)`,
      ours: milliseconds(ours),
      baseline: `uv pip install of the satisfied list ${milliseconds(baseline)}`,
      bar: `1 %, it is ${share.toFixed(2)} %`,
      met: share < 1,
    };
  }).pipe(Effect.provide(worker(place)));
}).pipe(Effect.scoped, Effect.provide([tools, NodeServices.layer]));

/** The first check of installed packages in a new process whose workspace is ready. */
const firstLook = (what: string, limit: number, settings: Readonly<Record<string, string>>) =>
  Effect.gen(function* () {
    const place = yield* folder;
    const python = yield* Effect.gen(function* () {
      yield* ensure;
      return (yield* (yield* Workspace).ready).python;
    }).pipe(Effect.provide(worker(place, settings)));
    const install = plain(python);
    const look = Effect.gen(function* () {
      yield* (yield* Workspace).ready;
      return yield* timed(ensure);
    }).pipe(Effect.provide(worker(place, settings)), Effect.scoped);
    const { ours, baseline, pairs } = yield* compare(30, look, timed(install));
    const ratio = median(ours) / median(baseline);
    return {
      what: `${what} (${pairs} pairs)`,
      ours: milliseconds(ours),
      baseline: `uv pip install of the satisfied list ${milliseconds(baseline)}`,
      bar: `${limit}x, it is ${ratio.toFixed(2)}x`,
      met: ratio <= limit,
    };
  });

export const packagesFirst = firstLook("installed packages seen by a new process", 1.5, {}).pipe(
  Effect.scoped,
  Effect.provide([tools, NodeServices.layer]),
);

export const packagesOfImage = Effect.gen(function* () {
  const place = yield* folder;
  const uv = yield* (yield* Uv).command;
  const image = join(place, "image");
  const python = join(image, "bin", "python");
  execFileSync(uv, ["venv", "-q", image]);
  const packages = execFileSync(
    python,
    ["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
    { encoding: "utf8" },
  ).trim();
  for (let number = 0; number < IMAGE_PACKAGES; number += 1) {
    const record = join(packages, `thing${number}-1.0.dist-info`);
    mkdirSync(record);
    writeFileSync(
      join(record, "METADATA"),
      `Metadata-Version: 2.1\nName: thing${number}\nVersion: 1.0\n`,
    );
    writeFileSync(join(record, "RECORD"), `thing${number}.py,,\n`);
    writeFileSync(join(packages, `thing${number}.py`), "");
  }
  return yield* firstLook(`the same where the image has ${IMAGE_PACKAGES} packages`, 2.5, {
    WORKER_IMAGE_PYTHON: python,
  });
}).pipe(Effect.scoped, Effect.provide([tools, NodeServices.layer]));

export const packagesCold = Effect.gen(function* () {
  const uv = yield* (yield* Uv).command;
  const { run } = yield* Programs;
  const ours = Effect.gen(function* () {
    const place = yield* folder;
    return yield* Effect.gen(function* () {
      yield* (yield* Workspace).ready;
      return yield* timed(ensure);
    }).pipe(Effect.provide(worker(place)));
  }).pipe(Effect.scoped);
  const bare = Effect.gen(function* () {
    const prefix = join(yield* folder, "venv");
    yield* run(uv, ["venv", "-q", prefix], { environment: CACHE });
    return yield* timed(plain(join(prefix, "bin", "python")));
  }).pipe(Effect.scoped);
  yield* Effect.all([ours, bare]);
  const result = yield* compare(30, ours, bare);
  const ratio = median(result.ours) / median(result.baseline);
  return {
    what: `new packages with a warm uv cache (${result.pairs} pairs)`,
    ours: milliseconds(result.ours),
    baseline: `uv pip install ${milliseconds(result.baseline)}`,
    bar: `1.2x, it is ${ratio.toFixed(2)}x`,
    met: ratio <= 1.2,
  };
}).pipe(Effect.scoped, Effect.provide([tools, NodeServices.layer]));
