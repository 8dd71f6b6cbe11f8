import { mkdirSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { type RequestListener } from "node:http";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { loopbackServer } from "../../support/http/LoopbackServer.ts";
import { call, realWorker } from "../../support/processes/RealWorker.ts";
import { makeWheels } from "../../support/python/Wheels.ts";

const VERSION = "def f():\n    import shared\n    return shared.VERSION";

const scene = Effect.map(temporaryFolder, (folder) => {
  const volume = join(folder, "volume");
  mkdirSync(volume);
  return {
    folder,
    volume,
    /** A worker of one of the endpoints that share the volume. */
    worker: (endpoint: string, settings: Readonly<Record<string, string>>) =>
      realWorker({
        RUNPOD_VOLUME_PATH: volume,
        RUNPOD_ENDPOINT_ID: endpoint,
        WORKER_WORKSPACE_PATH: join(folder, "own"),
        WORKER_APP_PATH: join(folder, "app"),
        ...settings,
      }),
  };
});

/** A loopback server that records the path and the credentials of each request. */
const recordingServer = (respond: RequestListener) =>
  Effect.suspend(() => {
    const requests: Array<string> = [];
    return Effect.map(
      loopbackServer((request, response) => {
        requests.push(`${request.url} ${request.headers.authorization ?? "nobody"}`);
        respond(request, response);
      }),
      ({ port }) => ({ port, requests }),
    );
  });

describe("endpoints on one volume", () => {
  it.live("share no files of installed packages", () =>
    Effect.gen(function* () {
      const { folder, worker } = yield* scene;
      const settings = {
        UV_FIND_LINKS: makeWheels(join(folder, "wheels"), { "shared-1.0": {} }),
      };
      const wanted = { dependencies: ["shared==1.0"] };
      const at = (endpoint: string, code: string) =>
        Effect.provide(call(code, "f", [], wanted), worker(endpoint, settings));
      assert.strictEqual((yield* at("one", VERSION)).json_result, "1.0");
      assert.strictEqual((yield* at("two", VERSION)).json_result, "1.0");
      const spoil = `import cloudpickle, os, shared
def f():
    for module in shared, cloudpickle:
        with open(module.__file__, "a") as file:
            file.write("\\nVERSION = 'spoiled'\\n")
    return [os.stat(module.__file__).st_nlink for module in (shared, cloudpickle)]`;
      assert.deepStrictEqual((yield* at("one", spoil)).json_result, [1, 1]);
      const look = `import cloudpickle, shared
def f(): return [shared.VERSION, getattr(cloudpickle, "VERSION", None)]`;
      for (const endpoint of ["two", "a-new-one"]) {
        assert.deepStrictEqual((yield* at(endpoint, look)).json_result, ["1.0", null]);
      }
    }).pipe(Effect.scoped),
  );

  it.live("can't change the package index of another endpoint by a configuration file", () =>
    Effect.gen(function* () {
      const { folder, volume, worker } = yield* scene;
      const wheels = makeWheels(join(folder, "wheels"), { "shared-1.0": {} });
      const wheel = "shared-1.0-py3-none-any.whl";
      const hostile = yield* recordingServer((_, response) => response.writeHead(404).end());
      const index = yield* recordingServer((request, response) => {
        if (request.url === "/simple/shared/") {
          response.setHeader("content-type", "text/html");
          response.end(`<!DOCTYPE html><a href="/${wheel}">${wheel}</a>`);
        } else if (request.url === `/${wheel}`) {
          response.end(readFileSync(join(wheels, wheel)));
        } else response.writeHead(404).end();
      });
      const address = `http://127.0.0.1:${hostile.port}/simple`;
      const options = `extra-index-url = ["${address}"]\nindex-strategy = "unsafe-best-match"\n`;
      const named = `[[INDEXindex]]\nname = "private"\nurl = "${address}"\n`;
      const workspace = join(volume, "runtimes", "mine");
      const configuration = join(volume, "configuration");
      for (const at of [folder, volume, workspace, join(workspace, ".venvs")]) {
        mkdirSync(at, { recursive: true });
        writeFileSync(join(at, "uv.toml"), options + named.replace("INDEX", ""));
        writeFileSync(
          join(at, "pyproject.toml"),
          `[project]\nname = "x"\nversion = "1"\n[tool.uv]\n${options}${named.replace("INDEX", "tool.uv.")}`,
        );
        writeFileSync(join(at, ".python-version"), "3.1\n");
        writeFileSync(join(at, ".env"), `UV_INDEX_URL=${address}\n`);
      }
      mkdirSync(join(configuration, "uv"), { recursive: true });
      writeFileSync(join(configuration, "uv", "uv.toml"), options + named.replace("INDEX", ""));
      const response = yield* Effect.provide(
        call(VERSION, "f", [], { dependencies: ["shared==1.0"] }),
        worker("mine", {
          UV_EXTRA_INDEX_URL: `http://someone:password-of-the-index@127.0.0.1:${index.port}/simple`,
          UV_INDEX_PRIVATE_USERNAME: "someone",
          UV_INDEX_PRIVATE_PASSWORD: "password-of-another",
          XDG_CONFIG_HOME: configuration,
          XDG_CONFIG_DIRS: configuration,
        }),
      );
      assert.deepStrictEqual([response.json_result, response.error], ["1.0", null]);
      assert.isEmpty(hostile.requests);
      const credentials = Buffer.from("someone:password-of-the-index").toString("base64");
      assert.include(index.requests, `/simple/shared/ Basic ${credentials}`);
    }).pipe(Effect.scoped),
  );

  it.live("run the worker's uv, not one from a package", () =>
    Effect.gen(function* () {
      const { folder, worker } = yield* scene;
      const marker = join(folder, "marker");
      const program = `#!/bin/sh\necho "$0" >> ${marker}\nexit 1\n`;
      const settings = {
        UV_FIND_LINKS: makeWheels(join(folder, "wheels"), {
          "tools-1.0": {
            files: {
              "tools-1.0.data/scripts/uv": program,
              "tools-1.0.data/scripts/setpriv": program,
            },
          },
          "shared-1.0": {},
        }),
      };
      yield* Effect.gen(function* () {
        const where = "import shutil\ndef f(): return shutil.which('uv')";
        const first = yield* call(where, "f", [], { dependencies: ["tools==1.0"] });
        assert.include(String(first.json_result), "/bin/uv");
        const second = yield* call(VERSION, "f", [], { dependencies: ["shared==1.0"] });
        assert.deepStrictEqual([second.json_result, second.error], ["1.0", null]);
        assert.isFalse(existsSync(marker));
      }).pipe(Effect.provide(worker("mine", settings)));
    }).pipe(Effect.scoped),
  );
});
