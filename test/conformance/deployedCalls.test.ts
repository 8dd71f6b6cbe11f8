import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import type { Client } from "../support/clients/Clients.ts";
import { queueWorker } from "../support/clients/DeployedApp.ts";
import { bodyOf, loopbackServer, respondJson } from "../support/http/LoopbackServer.ts";

const KEY = "rpa_2mNf7XqLw83vTbd0Zs51";

describe("a resource that calls another one", () => {
  it.live.each<[Client, Readonly<Record<string, string>>]>([
    ["flash", { FLASH_APP: "shop", FLASH_ENV: "production" }],
    ["sdk", { FLASH_ENVIRONMENT: "production" }],
  ])("uses the key of the endpoint, which is not logged (%s)", ([client, names]) =>
    Effect.gen(function* () {
      const requests: Array<Readonly<Record<string, unknown>>> = [];
      const { url } = yield* loopbackServer((request, response) => {
        void bodyOf(request).then((body) => {
          const { authorization, ...headers } = request.headers;
          requests.push({
            path: request.url?.split("?")[0],
            authorization,
            app: headers["x-flash-app"],
            environment: headers["x-flash-environment"],
            endpoint: headers["x-flash-endpoint"],
            body: JSON.parse(body),
          });
          respondJson(response, { id: "other", status: "COMPLETED", output: { hello: "there" } });
        });
      });
      const { call, logged } = yield* queueWorker(client, "relay", {
        ...names,
        RUNPOD_API_KEY: KEY,
        RUNPOD_ENDPOINT_BASE_URL: `${url}/v2`,
        LOG_LEVEL: "debug",
      });
      assert.deepStrictEqual(yield* call({ text: "friend" }), {
        output: { relayed: { hello: "there" } },
      });
      assert.deepStrictEqual(requests, [
        {
          path: "/v2/flash/runsync",
          authorization: `Bearer ${KEY}`,
          app: client === "flash" ? "shop" : "demo",
          environment: "production",
          endpoint: "hello",
          body: { input: { name: "friend" } },
        },
      ]);
      assert.strictEqual(logged(KEY), 0);
    }).pipe(Effect.scoped),
  );
});
