import { request } from "node:http";
import { join } from "node:path";

import { assert, layer } from "@effect/vitest";
import { Deferred, Effect, Fiber } from "effect";

import { AppRunner } from "../../../src/runner/apps/AppRunner.ts";
import { Workspace } from "../../../src/workspace/Workspace.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { temporaryFolder } from "../../support/files/TemporaryFolder.ts";
import { openApp, realApps } from "../../support/processes/RealApp.ts";

/** A server with the interface of uvicorn that the runner uses. */
const UVICORN = `
import asyncio

class Config:
    def __init__(self, app, uds, **options):
        self.loaded_app, self.uds = app, uds
    def load(self):
        pass

class Server:
    def __init__(self, config):
        self.config, self.started, self.should_exit = config, False, False

    async def startup(self, sockets=None):
        self.server = await asyncio.start_unix_server(self.answer, self.config.uds)
        self.started = True

    async def answer(self, reader, writer):
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        path = head.split()[1].decode()
        body = b""
        async def send(message):
            nonlocal body
            body += message.get("body", b"")
        await self.config.loaded_app({"type": "http", "path": path}, None, send)
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async def serve(self):
        await self.startup()
        while not self.should_exit:
            await asyncio.sleep(0.01)
        self.server.close()
`;

const HANDLER = `
import os
print("imported")
async def app(scope, receive, send):
    print("request", scope["path"])
    if scope["path"] == "/exit": os._exit(5)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
`;

const get = (socketPath: string, path: string) =>
  Effect.callback<string, Error>((resume) => {
    request({ socketPath, path }, (response) => {
      let body = "";
      response.on("data", (bytes: Buffer) => {
        body += bytes.toString();
      });
      response.on("end", () => resume(Effect.succeed(body)));
    })
      .on("error", (error) => resume(Effect.fail(error)))
      .end();
  });

const openSite = openApp(
  { "uvicorn.py": UVICORN, "handler_app.py": HANDLER },
  { resource: { kind: "api", targets: [], handlerFile: "handler_app.py" } },
);

/** Serves the open app in the background; returns when it accepts connections. */
const serving = Effect.gen(function* () {
  const socket = join(yield* temporaryFolder, "http.sock");
  const ready = yield* Deferred.make<void>();
  const server = yield* Effect.forkChild(
    (yield* AppRunner).serve({ socket, ready: Effect.asVoid(Deferred.succeed(ready, undefined)) }),
  );
  yield* Effect.raceFirst(Deferred.await(ready), Fiber.join(server));
  return { socket, server };
});

layer(realApps(), { excludeTestServices: true })("an app that serves HTTP", (it) => {
  it.effect("answers requests in the process that opened it, and logs its output", () => {
    const logs = keptLogs();
    return Effect.gen(function* () {
      yield* openSite;
      const { socket, server } = yield* serving;
      const first = yield* get(socket, "/a");
      assert.strictEqual(yield* get(socket, "/b"), first);
      yield* logs.until(() => logs.notices().includes("app: request /b"));
      assert.deepStrictEqual(
        logs.notices().filter((line) => line.startsWith("app: ")),
        ["app: imported", "app: request /a", "app: request /b"],
      );
      yield* Fiber.interrupt(server);
      assert.instanceOf(yield* Effect.flip(get(socket, "/c")), Error);
      const again = yield* serving;
      assert.strictEqual(yield* get(again.socket, "/d"), first);
      yield* Fiber.interrupt(again.server);
    }).pipe(Effect.provide(logs.layer));
  });

  it.effect("fails when its process ends, and can serve again in a new one", () =>
    Effect.gen(function* () {
      yield* openSite;
      const { socket, server } = yield* serving;
      const before = yield* get(socket, "/a");
      yield* Effect.flip(get(socket, "/exit"));
      assert.deepInclude(yield* Effect.flip(Fiber.join(server)), {
        _tag: "RunnerCrashed",
        exitCode: 5,
        output: "request /a\nrequest /exit\n",
      });
      const again = yield* serving;
      assert.notStrictEqual(yield* get(again.socket, "/b"), before);
      yield* Fiber.interrupt(again.server);
    }),
  );

  it.effect("reports why a live resource can't be served", () =>
    Effect.gen(function* () {
      const socket = join(yield* temporaryFolder, "http.sock");
      const failure = yield* (yield* AppRunner)
        .serveLive({
          workspace: yield* (yield* Workspace).ready,
          source: { code: "import nonexistent_package", resource: "api" },
          socket,
          ready: Effect.void,
        })
        .pipe(Effect.flip);
      assert.deepInclude(failure, {
        _tag: "AppOpenFailed",
        phase: "import",
        missingModule: "nonexistent_package",
      });
    }),
  );
});
