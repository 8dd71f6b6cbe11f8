import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  promises,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { NodeServices } from "@effect/platform-node";
import { afterEach, assert, describe, it } from "@effect/vitest";
import { ConfigProvider, Effect, Fiber, Layer, Option, type Scope } from "effect";
import { TestClock } from "effect/testing";

import { AppArtifact, openAppFolder } from "../../../src/apps/artifact/AppArtifact.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { listing } from "../../support/files/Listing.ts";
import { openFilesBelow } from "../../support/files/OpenFiles.ts";
import { failing, failSyncWrites, patchFiles } from "../../support/files/PatchedFiles.ts";
import { tarGz, tarGzOf, type TarMember } from "../../support/files/Tar.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";

const MANIFEST = JSON.stringify({
  resources: { greet: { functions: [{ name: "greet", module: "main", is_class: false }] } },
});

/** An archive of an app with these members. */
const appWith = (members: ReadonlyArray<TarMember>): Buffer =>
  tarGz([{ name: "flash_manifest.json", content: MANIFEST }, ...members]);

/** Until the end of the test. */
let restore = () => {};

afterEach(() => {
  restore();
  restore = () => {};
});

const MARKER = ".worker-tetra-app.json";

const setUp = Effect.fnUntraced(function* (variables: Readonly<Record<string, string>> = {}) {
  const root = yield* temporaryFolder;
  const app = join(root, "app");
  const archive = join(root, "artifact.tar.gz");
  const { layer: logs, ...log } = keptLogs();
  const layer = AppArtifact.layer.pipe(
    Layer.provide(
      ConfigProvider.layer(
        ConfigProvider.fromUnknown({
          FLASH_RESOURCE_NAME: "greet",
          FLASH_BUILD_ARTIFACT_PATH: archive,
          RUNPOD_APP_DIR: app,
          RUNPOD_ARTIFACT_WAIT: "30",
          RUNPOD_VOLUME_PATH: join(root, "volume"),
          ...variables,
        }),
      ),
    ),
  );
  /** Each call is a new worker. */
  const locate = AppArtifact.pipe(
    Effect.flatMap((artifact) => artifact.locate),
    Effect.provide([layer, logs]),
    Effect.catchTag("SettingInvalid", Effect.die),
  );
  const expected = AppArtifact.pipe(
    Effect.flatMap((artifact) => artifact.expected),
    Effect.provide([layer, logs]),
    Effect.catchTag("SettingInvalid", Effect.die),
  );
  return {
    root,
    app,
    expected,
    archive,
    log,
    locate,
    failure: Effect.flip(locate),
    /** The content of the app folder without the marker. */
    content: () => {
      assert.strictEqual(openFilesBelow(root), 0, "files were left open");
      const { [MARKER]: _marker, ...others } = listing(app);
      return others;
    },
  };
});

/** Lets reads and writes of the disk that are under way complete; none needs so many steps. */
const diskIsIdle = Effect.promise(async () => {
  // oxlint-disable-next-line no-await-in-loop -- each waits for the system once
  for (let turns = 0; turns < 60; turns += 1) await promises.stat("/");
});

/** Advances the clock in steps of the pause between two polls. */
const pass = Effect.fnUntraced(function* (seconds: number) {
  yield* diskIsIdle;
  for (let halves = 0; halves < seconds * 2; halves += 1) {
    yield* TestClock.adjust("500 millis");
    yield* diskIsIdle;
  }
});

const running = <A, E>(
  effect: Effect.Effect<A, E>,
): Effect.Effect<Fiber.Fiber<A, E>, never, Scope.Scope> => Effect.forkScoped(effect);

const isRunning = (fiber: Fiber.Fiber<unknown, unknown>) => fiber.pollUnsafe() === undefined;

/** Advances the clock until a fiber ends, and returns its result. */
const finish = Effect.fnUntraced(function* <A, E>(fiber: Fiber.Fiber<A, E>) {
  while (isRunning(fiber)) yield* pass(0.5);
  return yield* Fiber.join(fiber);
});

describe("an app that is not unpacked yet", () => {
  it.effect("has a name and a folder", () =>
    Effect.gen(function* () {
      const { root, app, expected, locate, archive } = yield* setUp();
      mkdirSync(join(root, "real"));
      symlinkSync("real", app);
      const known = Option.getOrThrow(yield* expected);
      assert.deepStrictEqual(known, { resource: "greet", folder: join(root, "real") });
      writeFileSync(archive, appWith([]));
      assert.strictEqual((yield* locate).folder, known.folder);
    }),
  );

  it.effect("has the folder that is given", () =>
    Effect.gen(function* () {
      const { root } = yield* setUp();
      for (const variables of [
        { RUNPOD_PREBUILT_APP_DIR: root },
        { FLASH_DISABLE_UNPACK: "1", RUNPOD_APP_DIR: root },
      ]) {
        const { expected } = yield* setUp(variables);
        assert.deepStrictEqual(Option.getOrThrow(yield* expected).folder, root);
      }
    }),
  );

  it.effect.each([
    { RUNPOD_PREBUILT_APP_DIR: "/nonexistent" },
    { RUNPOD_APP_DIR: "/dev/null/app" },
    { FLASH_RESOURCE_NAME: "" },
  ])("is unknown if it will not be found: %o", (variables) =>
    Effect.gen(function* () {
      const { expected } = yield* setUp(variables);
      assert.isTrue(Option.isNone(yield* expected));
    }),
  );
});

describe("finding the archive of an app", () => {
  it.effect("waits for an archive that appears late, and logs that every 15 seconds", () =>
    Effect.gen(function* () {
      const { archive, content, locate, log } = yield* setUp();
      const fiber = yield* running(locate);
      yield* pass(20);
      assert.lengthOf(log.notices(), 2);
      assert.include(log.notices()[1], `for the archive of the app, ${archive}: it does not exist`);
      writeFileSync(archive, appWith([{ name: "main.py", content: "x" }]));
      const { resource } = yield* finish(fiber);
      assert.strictEqual(resource.name, "greet");
      assert.deepStrictEqual(content(), {
        "flash_manifest.json": `file: ${MANIFEST}`,
        "main.py": "file: x",
      });
    }),
  );

  it.effect("fails when the archive does not appear in time", () =>
    Effect.gen(function* () {
      const { archive, failure } = yield* setUp();
      const fiber = yield* running(failure);
      yield* pass(29);
      assert.isTrue(isRunning(fiber));
      const { phase, reason, advice } = yield* finish(fiber);
      assert.strictEqual(phase, "locate");
      assert.include(reason, `${archive}, does not exist (waited 30 seconds)`);
      assert.include(advice, "deploy the app again");
    }),
  );

  it.effect("waits for the rest of an archive that is being copied", () =>
    Effect.gen(function* () {
      const { app, archive, content, locate, log } = yield* setUp({ RUNPOD_ARTIFACT_WAIT: "60" });
      const whole = appWith([{ name: "main.py", content: "x".repeat(10_000) }]);
      const part = Math.floor(whole.length / 4);
      writeFileSync(archive, whole.subarray(0, part));
      const fiber = yield* running(locate);
      for (let copied = part; copied < whole.length; copied += part) {
        yield* pass(6);
        assert.isTrue(isRunning(fiber), `after ${copied} bytes`);
        assert.deepStrictEqual(readdirSync(app), []);
        appendFileSync(archive, whole.subarray(copied, copied + part));
      }
      yield* finish(fiber);
      assert.include(log.notices()[0], "it is incomplete");
      assert.strictEqual(content()["main.py"], `file: ${"x".repeat(10_000)}`);
    }),
  );

  it.effect("fails for a truncated archive that does not change any more", () =>
    Effect.gen(function* () {
      const { app, archive, failure } = yield* setUp();
      writeFileSync(archive, appWith([]).subarray(0, -20));
      const fiber = yield* running(failure);
      yield* pass(9);
      assert.isTrue(isRunning(fiber));
      const { phase, reason } = yield* finish(fiber);
      assert.strictEqual(phase, "locate");
      assert.include(reason, `${archive}, is incomplete`);
      assert.deepStrictEqual(readdirSync(app), []);
    }),
  );

  it.effect("fails at once for an archive that must not be unpacked", () =>
    Effect.gen(function* () {
      const { app, archive, failure } = yield* setUp();
      writeFileSync(archive, appWith([{ name: "../evil", content: "x" }]));
      const { phase, reason, advice } = yield* failure;
      assert.strictEqual(phase, "locate");
      assert.include(reason, `${archive}, contains "../evil"`);
      assert.include(advice, "deploy again");
      assert.deepStrictEqual(readdirSync(app), []);
    }),
  );

  it.effect("fails for limits that the settings set", () =>
    Effect.gen(function* () {
      const { archive, failure } = yield* setUp({ WORKER_APP_MAX_FILES: "1" });
      writeFileSync(archive, appWith([{ name: "main.py" }]));
      assert.include((yield* failure).advice, "WORKER_APP_MAX_FILES");
      const other = yield* setUp({ WORKER_APP_MAX_BYTES: "1000" });
      writeFileSync(other.archive, appWith([]));
      assert.include((yield* other.failure).advice, "WORKER_APP_MAX_BYTES");
    }),
  );

  it.effect("fails for a folder or pipe instead of an archive", () =>
    Effect.gen(function* () {
      const { archive, failure } = yield* setUp();
      mkdirSync(archive);
      assert.include((yield* failure).reason, `${archive} can't be read`);
    }),
  );

  it.effect("stops unpacking when it is interrupted, and leaves nothing", () =>
    Effect.gen(function* () {
      const { app, archive, content, locate } = yield* setUp();
      mkdirSync(app);
      writeFileSync(archive, appWith([{ name: "large", content: Buffer.alloc(30_000_000) }]));
      const fiber = yield* running(locate);
      const hasStarted = () => Object.keys(listing(app)).some((path) => path.endsWith("/large"));
      while (!hasStarted()) yield* Effect.promise(() => promises.stat("/"));
      yield* Fiber.interrupt(fiber);
      assert.deepStrictEqual(content(), {});
    }),
  );

  it.effect("fails for the name of a resource that is a path", () =>
    Effect.gen(function* () {
      const { archive, failure } = yield* setUp({ FLASH_RESOURCE_NAME: "../greet" });
      writeFileSync(archive, appWith([]));
      assert.include((yield* failure).reason, '"../greet" is not the name of a resource');
    }),
  );
});

describe("the app folder", () => {
  const files = tarGzOf({
    "flash_manifest.json": MANIFEST,
    "main.py": "1",
    "pkg/a.py": "a",
    "pkg/deep/b.py": "b",
  });

  it.effect("is not unpacked again by the next worker", () =>
    Effect.gen(function* () {
      const { app, archive, content, locate, log } = yield* setUp();
      writeFileSync(archive, files);
      yield* locate;
      writeFileSync(join(app, "main.py"), "changed by a job");
      yield* locate;
      assert.strictEqual(content()["main.py"], "file: changed by a job");
      assert.lengthOf(log.notices(), 1);
      rmSync(archive);
      yield* locate;
      assert.include(log.notices()[1], "does not exist; using the app in");
    }),
  );

  it.effect("gets the files of a new archive, loses those of the old one, and keeps others", () =>
    Effect.gen(function* () {
      const { app, archive, content, locate, root } = yield* setUp();
      const venv = join(root, "venv");
      mkdirSync(venv);
      mkdirSync(join(app, "pkg"), { recursive: true });
      writeFileSync(join(app, "pkg/foreign"), "stays");
      symlinkSync(venv, join(app, ".venv"));
      writeFileSync(archive, files);
      yield* locate;
      mkdirSync(join(app, "pkg/deep/__pycache__"));
      writeFileSync(join(app, "pkg/deep/__pycache__/b.pyc"), "");
      writeFileSync(archive, appWith([{ name: "main.py", content: "2" }, { name: "pkg/new.py" }]));
      yield* locate;
      assert.deepStrictEqual(content(), {
        ".venv": `link to ${venv}`,
        "flash_manifest.json": `file: ${MANIFEST}`,
        "main.py": "file: 2",
        pkg: "folder",
        "pkg/foreign": "file: stays",
        "pkg/new.py": "file: ",
      });
    }),
  );

  it.effect("notices a new archive of the same size and time", () =>
    Effect.gen(function* () {
      const { archive, content, locate } = yield* setUp();
      for (const text of ["old", "new"]) {
        writeFileSync(archive, appWith([{ name: "main.py", content: text }]));
        utimesSync(archive, 1000, 1000);
        yield* locate;
        assert.strictEqual(content()["main.py"], `file: ${text}`);
      }
    }),
  );

  it.effect("is completed after a worker was killed while it moved files", () =>
    Effect.gen(function* () {
      const { app, archive, content, locate } = yield* setUp();
      writeFileSync(archive, files);
      yield* locate;
      const marker = join(app, MARKER);
      const killed = { ...JSON.parse(readFileSync(marker, "utf8")), isComplete: false };
      writeFileSync(marker, JSON.stringify({ ...killed, files: [...killed.files, "half"] }));
      writeFileSync(join(app, "half"), "of another archive");
      rmSync(join(app, "main.py"));
      mkdirSync(join(app, ".worker-tetra-unpacking-x/folder"), { recursive: true });
      yield* locate;
      assert.deepStrictEqual(Object.keys(content()), [
        "flash_manifest.json",
        "main.py",
        "pkg",
        "pkg/a.py",
        "pkg/deep",
        "pkg/deep/b.py",
      ]);
    }),
  );

  it.effect("is not left through a marker or links that a job has changed", () =>
    Effect.gen(function* () {
      const { app, archive, content, locate, root } = yield* setUp();
      const outside = join(root, "outside");
      mkdirSync(outside);
      writeFileSync(join(outside, "a.py"), "precious");
      writeFileSync(archive, files);
      yield* locate;
      const marker = JSON.parse(readFileSync(join(app, MARKER), "utf8"));
      const evil = ["../outside/a.py", join(outside, "a.py"), "", ".", ".."];
      writeFileSync(
        join(app, MARKER),
        JSON.stringify({
          ...marker,
          files: [...marker.files, ...evil],
          folders: [...evil, ...marker.folders],
        }),
      );
      rmSync(join(app, "pkg"), { recursive: true });
      symlinkSync(outside, join(app, "pkg"));
      writeFileSync(archive, appWith([{ name: "pkg/a.py", content: "new" }]));
      yield* locate;
      assert.strictEqual(readFileSync(join(outside, "a.py"), "utf8"), "precious");
      assert.strictEqual(content()["pkg/a.py"], "file: new");
      assert.isTrue(lstatSync(join(app, "pkg")).isDirectory());
    }),
  );

  it.effect("ignores a marker that is damaged, a link, or a folder", () =>
    Effect.gen(function* () {
      const { app, archive, content, locate } = yield* setUp();
      writeFileSync(archive, files);
      mkdirSync(app);
      for (const plant of [
        (path: string) => writeFileSync(path, "{"),
        (path: string) => symlinkSync("/etc/passwd", path),
      ]) {
        rmSync(join(app, MARKER), { force: true });
        plant(join(app, MARKER));
        yield* locate;
        assert.strictEqual(content()["main.py"], "file: 1");
      }
    }),
  );

  it.effect("does not get a .venv or the worker's own files from an archive", () =>
    Effect.gen(function* () {
      const { archive, content, locate, log } = yield* setUp();
      writeFileSync(
        archive,
        appWith([{ name: ".venv/bin/python" }, { name: MARKER, content: "{}" }]),
      );
      yield* locate;
      assert.deepStrictEqual(Object.keys(content()), ["flash_manifest.json"]);
      assert.include(log.warnings()[0], "Left out 4 entries of the app's archive");
    }),
  );

  it.effect("is not replaced by a file of the archive if it contains a folder of that name", () =>
    Effect.gen(function* () {
      const { app, archive, content, failure } = yield* setUp();
      mkdirSync(join(app, "models"), { recursive: true });
      writeFileSync(archive, appWith([{ name: "models" }]));
      assert.include((yield* failure).reason, `${join(app, "models")} is a folder`);
      assert.strictEqual(content()["models"], "folder");
    }),
  );

  it.effect("must not be on the network volume", () =>
    Effect.gen(function* () {
      const { root } = yield* setUp();
      const volume = join(root, "volume");
      const app = join(volume, "app");
      mkdirSync(volume);
      const { failure } = yield* setUp({ RUNPOD_APP_DIR: app, RUNPOD_VOLUME_PATH: volume });
      const { reason, advice } = yield* failure;
      assert.include(reason, "is on the network volume");
      assert.include(advice, "RUNPOD_APP_DIR");
    }),
  );

  it.effect.each(["ENOSPC", "EROFS", "EACCES", "EDQUOT"])(
    "reports %s with the path and advice",
    (code) =>
      Effect.gen(function* () {
        const { app, archive, failure } = yield* setUp();
        writeFileSync(archive, files);
        restore = patchFiles({ rename: failing(code) });
        const { phase, reason, advice } = yield* failure;
        assert.strictEqual(phase, "locate");
        assert.include(reason, `${app} can't be written to`);
        assert.include(reason, code);
        assert.isNotEmpty(advice);
      }),
  );

  it.effect("stays empty if the disk becomes full while a file is unpacked", () =>
    Effect.gen(function* () {
      const { app, archive, content, failure } = yield* setUp();
      writeFileSync(archive, files);
      restore = failSyncWrites("ENOSPC");
      const { reason, advice } = yield* failure;
      assert.include(
        reason,
        `${join(app, "flash_manifest.json")} can't be written: there is no space`,
      );
      assert.strictEqual(advice, "Free some space, or use a larger disk.");
      assert.deepStrictEqual(content(), {});
    }),
  );

  it.effect("is used as it is if it is part of the image", () =>
    Effect.gen(function* () {
      const root = yield* temporaryFolder;
      writeFileSync(join(root, "flash_manifest.json"), MANIFEST);
      for (const variables of [
        { RUNPOD_PREBUILT_APP_DIR: root },
        { FLASH_DISABLE_UNPACK: "yes", RUNPOD_APP_DIR: root },
      ]) {
        const { archive, locate } = yield* setUp(variables);
        writeFileSync(archive, "not read");
        assert.strictEqual((yield* locate).folder, root);
      }
      assert.deepStrictEqual(readdirSync(root), ["flash_manifest.json"]);
    }),
  );
});

describe("an app that is given on the command line", () => {
  it.effect("is a folder, or an archive that is unpacked until the scope closes", () =>
    Effect.gen(function* () {
      const { archive, root } = yield* setUp();
      assert.strictEqual(yield* openAppFolder(root), root);
      writeFileSync(archive, tarGzOf({ "main.py": "1" }));
      const folder = yield* Effect.scoped(
        Effect.tap(openAppFolder(archive), (path) =>
          Effect.sync(() => assert.strictEqual(listing(path)["main.py"], "file: 1")),
        ),
      );
      assert.isFalse(existsSync(folder));
      writeFileSync(archive, "text");
      assert.include((yield* Effect.flip(openAppFolder(archive))).reason, "not a gzip file");
      assert.include(
        (yield* Effect.flip(openAppFolder(join(root, "none")))).reason,
        "it does not exist",
      );
    }).pipe(Effect.provide(NodeServices.layer)),
  );
});
