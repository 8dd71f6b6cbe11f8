import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { ConfigProvider, Effect, Option } from "effect";

import { listResources, readApp } from "../../../src/apps/manifest/AppManifest.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";

const FLASH = "flash_manifest.json";
const SDK = "runpod_manifest.json";

/** The parts of a manifest that runpod-flash 1.21 writes. */
const flash = {
  version: "1.0",
  python_version: "3.12",
  project_name: "app",
  resources: {
    greet: {
      resource_type: "CpuLiveServerless",
      functions: [{ name: "greet", module: "pkg.main", is_async: true, is_class: false }],
      is_load_balanced: false,
      max_concurrency: 4,
      handler_file: "handler_greet.py",
      target_python_version: "3.11",
    },
    "live-counter-fb": {
      functions: [
        { name: "Counter", module: "main", is_class: true, class_methods: ["add", "get"] },
      ],
      is_load_balanced: false,
    },
    web: {
      functions: [
        { name: "add", module: "web", is_class: false, http_method: "POST", http_path: "/add" },
        { name: "get", module: "web", is_class: false, http_method: "GET", http_path: "/" },
      ],
      is_load_balanced: true,
    },
    vllm: { functions: [], is_load_balanced: false, client_mode: true },
  },
  function_registry: { greet: "greet" },
};

/** The parts of a manifest that runpod 2.0 writes. */
const sdk = {
  version: 1,
  app: "demo",
  pythonVersion: "3.11",
  excludedPackages: ["torch"],
  resources: [
    {
      kind: "queue",
      name: "greet",
      gpuCount: 1,
      systemDependencies: ["tree"],
      maxConcurrency: 4,
      module: "main",
      qualname: "greet",
    },
    {
      kind: "api",
      name: "web",
      routes: [{ method: "POST", path: "/sum", handler: "add" }],
      module: "main",
      qualname: "Web",
    },
    { kind: "api", name: "asgi", asgiFactory: "make", module: "main", qualname: "make" },
    { kind: "task", name: "train", module: "main", qualname: "train" },
    { kind: "queue", name: "empty" },
  ],
};

const folderWith = Effect.fnUntraced(function* (files: Readonly<Record<string, unknown>>) {
  const folder = yield* temporaryFolder;
  for (const [name, content] of Object.entries(files)) {
    const text = typeof content === "string" ? content : JSON.stringify(content);
    writeFileSync(join(folder, name), text);
  }
  return folder;
});

const read = (
  files: Readonly<Record<string, unknown>>,
  name: string,
  variables: Readonly<Record<string, string>> = {},
) =>
  Effect.flatMap(folderWith(files), (folder) => readApp(folder, name)).pipe(
    Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnvRecord(variables))),
  );

/** The reason and the advice of a failure. */
const failure = (...given: Parameters<typeof read>) =>
  Effect.map(Effect.flip(read(...given)), (error) => {
    assert.strictEqual(error.phase, "locate");
    return error.message;
  });

describe("the manifest of Flash", () => {
  it.effect("tells the functions of a queue resource", () =>
    Effect.gen(function* () {
      const app = yield* read({ [FLASH]: flash }, "greet");
      assert.deepStrictEqual(app, {
        folder: app.folder,
        path: [app.folder],
        resource: {
          client: "flash",
          name: "greet",
          kind: "queue",
          targets: [{ module: "pkg.main", name: "greet", methods: [] }],
          handlerFile: "handler_greet.py",
        },
        maxConcurrency: 4,
        pythonVersion: Option.some("3.11"),
        excludedPackages: [],
        systemDependencies: [],
      });
    }),
  );

  it.effect.each(["live-counter-fb", "counter", "live-counter", "counter-fb"])(
    "finds a class by the name %s",
    (name) =>
      Effect.gen(function* () {
        const { resource, maxConcurrency, pythonVersion } = yield* read({ [FLASH]: flash }, name);
        assert.deepStrictEqual(resource.targets, [
          { module: "main", name: "Counter", methods: ["add", "get"] },
        ]);
        assert.strictEqual(resource.name, "live-counter-fb");
        assert.strictEqual(maxConcurrency, 1);
        assert.deepStrictEqual(pythonVersion, Option.some("3.12"));
      }),
  );

  it.effect("tells that a resource is load balanced, and the handler file that it leaves out", () =>
    Effect.gen(function* () {
      const { resource } = yield* read({ [FLASH]: flash }, "web");
      assert.strictEqual(resource.kind, "api");
      assert.strictEqual(resource.handlerFile, "handler_web.py");
      assert.lengthOf(resource.targets, 2);
    }),
  );

  it.effect("is not changed by RUNPOD_MAX_CONCURRENCY", () =>
    Effect.gen(function* () {
      const app = yield* read({ [FLASH]: flash }, "greet", { RUNPOD_MAX_CONCURRENCY: "9" });
      assert.strictEqual(app.maxConcurrency, 4);
    }),
  );

  it.effect("refuses a resource without code", () =>
    Effect.gen(function* () {
      assert.include(yield* failure({ [FLASH]: flash }, "vllm"), "vllm has no code");
    }),
  );
});

describe("the manifest of SDK 2.0", () => {
  it.effect("tells the function of a queue resource", () =>
    Effect.gen(function* () {
      const app = yield* read({ [SDK]: sdk }, "greet");
      assert.deepStrictEqual(app, {
        folder: app.folder,
        path: [join(app.folder, "env"), app.folder],
        resource: {
          client: "sdk",
          name: "greet",
          kind: "queue",
          targets: [{ module: "main", name: "greet", methods: [] }],
          handlerFile: null,
        },
        maxConcurrency: 4,
        pythonVersion: Option.some("3.11"),
        excludedPackages: ["torch"],
        systemDependencies: ["tree"],
      });
    }),
  );

  it.effect("has APIs: classes with routes and functions that return an ASGI app", () =>
    Effect.gen(function* () {
      for (const [name, target] of [
        ["web", "Web"],
        ["asgi", "make"],
      ] as const) {
        const { resource, maxConcurrency } = yield* read({ [SDK]: sdk }, name);
        assert.strictEqual(resource.kind, "api");
        assert.strictEqual(resource.targets[0]?.name, target);
        assert.strictEqual(maxConcurrency, 1);
      }
    }),
  );

  it.effect("has less precedence than RUNPOD_MAX_CONCURRENCY", () =>
    Effect.gen(function* () {
      const app = yield* read({ [SDK]: sdk }, "greet", { RUNPOD_MAX_CONCURRENCY: "9" });
      assert.strictEqual(app.maxConcurrency, 9);
      for (const invalid of ["0", "many"]) {
        const variables = { RUNPOD_MAX_CONCURRENCY: invalid };
        const message = yield* failure({ [SDK]: sdk }, "greet", variables);
        assert.include(message, "RUNPOD_MAX_CONCURRENCY");
      }
    }),
  );

  it.effect("refuses tasks and resources without code", () =>
    Effect.gen(function* () {
      assert.include(yield* failure({ [SDK]: sdk }, "train"), "train is a task");
      assert.include(yield* failure({ [SDK]: sdk }, "empty"), "empty has no code");
    }),
  );

  it.effect("does not match names in parts, as Flash does", () =>
    Effect.gen(function* () {
      assert.include(yield* failure({ [SDK]: sdk }, "live-greet"), 'no resource "live-greet"');
    }),
  );
});

describe("manifests of both clients", () => {
  it.effect("list the resources that can be served", () =>
    Effect.gen(function* () {
      const ofFlash = yield* Effect.flatMap(folderWith({ [FLASH]: flash }), listResources);
      assert.deepStrictEqual(
        ofFlash.map(({ client, name, kind }) => [client, name, kind]),
        [
          ["flash", "greet", "queue"],
          ["flash", "live-counter-fb", "queue"],
          ["flash", "web", "api"],
        ],
      );
      const ofSdk = yield* Effect.flatMap(folderWith({ [SDK]: sdk }), listResources);
      assert.deepStrictEqual(
        ofSdk.map(({ client, name, kind }) => [client, name, kind]),
        [
          ["sdk", "greet", "queue"],
          ["sdk", "web", "api"],
          ["sdk", "asgi", "api"],
          ["sdk", "empty", "queue"],
        ],
      );
    }),
  );

  it.effect("name the known resources if one is unknown", () =>
    Effect.gen(function* () {
      const message = yield* failure({ [FLASH]: flash }, "gret");
      assert.include(
        message,
        '"gret": flash_manifest.json contains greet, live-counter-fb, vllm, web',
      );
      const none = { ...sdk, resources: [] };
      assert.include(yield* failure({ [SDK]: none }, "x"), "runpod_manifest.json contains none");
    }),
  );

  it.effect.each(["", ".", "..", "a/b", String.raw`a\b`, "a\nb", "../greet"])(
    "are not searched for the name %j",
    (name) =>
      Effect.gen(function* () {
        assert.include(yield* failure({ [FLASH]: flash }, name), "is not the name of a resource");
      }),
  );

  it.effect("use the name of properties of objects only if they are resources", () =>
    Effect.gen(function* () {
      assert.include(yield* failure({ [FLASH]: flash }, "constructor"), "no resource");
    }),
  );

  it.effect.each<readonly [string, Readonly<Record<string, unknown>>, ReadonlyArray<string>]>([
    ["is no JSON", { [FLASH]: "{" }, [FLASH, "is invalid"]],
    ["has no resources", { [FLASH]: {} }, [FLASH, '["resources"]']],
    [
      "has a function without a module",
      { [FLASH]: { resources: { greet: { functions: [{ name: "f", is_class: false }] } } } },
      ['["resources"]["greet"]["functions"][0]["module"]'],
    ],
    [
      "has an invalid concurrency",
      { [SDK]: { ...sdk, resources: [{ ...sdk.resources[0], maxConcurrency: 0 }] } },
      [SDK, '["resources"][0]["maxConcurrency"]'],
    ],
    ["has an unknown version", { [SDK]: { ...sdk, version: 2 } }, ['["version"]']],
    ["is missing", {}, ["contains no app", SDK, FLASH]],
  ])("tell what is wrong if one %s", ([, files, parts]) =>
    Effect.gen(function* () {
      const message = yield* failure(files, "greet");
      for (const part of parts) assert.include(message, part);
    }),
  );

  it.effect("are not read from a folder, or if the app folder does not exist", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder;
      mkdirSync(join(folder, SDK));
      assert.include((yield* Effect.flip(readApp(folder, "greet"))).reason, `${SDK} can't be read`);
      const missing = join(folder, "none");
      assert.include((yield* Effect.flip(readApp(missing, "x"))).reason, "can't be opened");
    }),
  );

  it.effect("give the real path of the app folder", () =>
    Effect.gen(function* () {
      const folder = yield* folderWith({ [FLASH]: flash });
      const link = join(yield* temporaryFolder, "link");
      symlinkSync(folder, link);
      assert.strictEqual((yield* readApp(link, "greet")).folder, folder);
    }),
  );
});
