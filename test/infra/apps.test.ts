import { assert, beforeAll, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { launcherOf } from "../support/clients/Clients.ts";
import { fakeRunPod } from "../support/fakes/FakeRunPod.ts";
import {
  buildImage,
  container,
  docker,
  hasDocker,
  IMAGE,
  until,
  variables,
} from "../support/processes/Docker.ts";
import { functionInput } from "../support/values/JobInputs.ts";

/** Fails if something is downloaded. */
const OFFLINE = variables({ PIP_NO_INDEX: "1", UV_OFFLINE: "1" });

const statusOf = (url: string) =>
  `import urllib.request as u; print(u.urlopen("${url}", timeout=5).status)`;

// Needs a Docker engine.
describe.skipIf(!hasDocker)("the CPU image, as the image of an app of SDK 2.0", () => {
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
});
