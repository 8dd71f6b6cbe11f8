import { assert, beforeAll, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { artifactOf, type Client, type ClientApp, launcherOf } from "../support/clients/Clients.ts";
import { fakeRunPod } from "../support/fakes/FakeRunPod.ts";
import {
  buildImage,
  container,
  docker,
  hasDocker,
  IMAGE,
  skippedWithoutDocker,
  until,
  variables,
} from "../support/processes/Docker.ts";
import { functionInput } from "../support/values/JobInputs.ts";

/** Fails if something is downloaded. */
const OFFLINE = variables({ PIP_NO_INDEX: "1", UV_OFFLINE: "1" });

const statusOf = (url: string) =>
  `import urllib.request as u; print(u.urlopen("${url}", timeout=5).status)`;

describe.skipIf(!hasDocker)(
  `the CPU image, as the image of an app of SDK 2.0${skippedWithoutDocker}`,
  () => {
    beforeAll(buildImage);

    it.live("answers jobs of a queue", () =>
      Effect.gen(function* () {
        const service = yield* fakeRunPod();
        const settings = variables({ ...service.variables, RUNPOD_RUNTIME_KIND: "queue" });
        yield* container(...OFFLINE, ...settings, IMAGE, ...(yield* launcherOf("queue")));
        const { body } = yield* service.result(
          service.submit(functionInput("import runpod\ndef f(): return runpod.__version__")),
        );
        assert.deepInclude(body["output"], { success: true, json_result: "2.0.0rc2" });
      }).pipe(Effect.scoped),
    );

    it.live("listens for requests of an API", () =>
      Effect.gen(function* () {
        const settings = variables({ PORT: "18086", RUNPOD_RUNTIME_KIND: "api" });
        const id = yield* container(...OFFLINE, ...settings, IMAGE, ...(yield* launcherOf("api")));
        const ping = statusOf("http://127.0.0.1:18086/ping");
        yield* until("200", "exec", id, "python3", "-c", ping);
      }).pipe(Effect.scoped),
    );

    it.live("refuses tasks", () =>
      Effect.gen(function* () {
        const launcher = yield* launcherOf("task");
        const { code, output } = yield* docker("run", "--rm", ...OFFLINE, IMAGE, ...launcher);
        assert.include(output, "worker-tetra does not run tasks");
        assert.strictEqual(code, 1);
      }),
    );
  },
);

const CLIENTS: ReadonlyArray<Client> = ["flash", "sdk"];

/** Options of a container of a deployed resource, as RunPod starts it. */
const deployed = Effect.fnUntraced(function* (
  app: ClientApp,
  resource: string,
  settings: Readonly<Record<string, string>>,
) {
  const artifact = yield* artifactOf(app, "3.12");
  return [
    ...variables({ RUNPOD_ENDPOINT_ID: "tests", FLASH_RESOURCE_NAME: resource, ...settings }),
    "--volume",
    `${artifact}:/root/.runpod/artifact.tar.gz:ro`,
  ];
});

describe.skipIf(!hasDocker)(`the CPU image of a deployed app${skippedWithoutDocker}`, () => {
  beforeAll(buildImage);

  it.live.each(
    CLIENTS.flatMap((client) => [
      [client, "root", []] as const,
      [client, "another user", ["--user", "1000"]] as const,
      [
        client,
        "root, on a read-only disk",
        ["--read-only", "--tmpfs", "/app", "--tmpfs", "/tmp"],
      ] as const,
    ]),
  )("answers jobs (%s, as %s)", ([client, , options]) =>
    Effect.gen(function* () {
      const service = yield* fakeRunPod();
      const args = yield* deployed(client, "hello", service.variables);
      yield* container(...OFFLINE, ...args, ...options, IMAGE);
      const { body } = yield* service.result(service.submit({ name: "image" }));
      assert.deepStrictEqual(body, { output: { hello: "image" } });
    }).pipe(Effect.scoped),
  );

  it.live.each(CLIENTS)("installs the system packages of an app of %s", (client) =>
    Effect.gen(function* () {
      const service = yield* fakeRunPod();
      yield* container(...(yield* deployed(client, "drawn", service.variables)), IMAGE);
      const { body } = yield* service.result(service.submit({}));
      assert.match(String(body["output"]), /^tree v/, JSON.stringify(body));
    }).pipe(Effect.scoped),
  );

  it.live.each([
    ["flash", "items/7", '{"item":7,"plural":false}'],
    ["sdk-api", "count", '{"count":0}'],
  ] as const)("answers requests (%s)", ([app, path, expected]) =>
    Effect.gen(function* () {
      const args = yield* deployed(app, "web", { PORT: "18087", FLASH_ENDPOINT_TYPE: "lb" });
      const id = yield* container(...OFFLINE, ...args, IMAGE);
      const exec = (code: string) => ["exec", id, "python3", "-c", code];
      yield* until("200", ...exec(statusOf("http://127.0.0.1:18087/ping")));
      const read = `import urllib.request as u; print(u.urlopen("http://127.0.0.1:18087/${path}").read().decode())`;
      assert.strictEqual((yield* docker(...exec(read))).output.trim(), expected);
    }).pipe(Effect.scoped),
  );
});
