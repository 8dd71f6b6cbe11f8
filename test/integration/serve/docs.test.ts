import { assert, describe, it } from "@effect/vitest";
import { Effect, Schema } from "effect";

import { ask } from "../../support/http/HttpRequest.ts";
import { serveInProcess } from "../../support/processes/Serve.ts";

const Shown = Schema.Struct({ schema: Schema.Struct({ examples: Schema.Tuple([Schema.Json]) }) });

/** What the page about the routes has of each of them, as far as this test needs it. */
const Page = Schema.Struct({
  paths: Schema.Record(
    Schema.String,
    Schema.Record(
      Schema.Literals(["get", "post"]),
      Schema.optionalKey(
        Schema.Struct({
          parameters: Schema.Array(
            Schema.Struct({
              name: Schema.String,
              in: Schema.Literals(["path", "query"]),
              required: Schema.Boolean,
              schema: Schema.Struct({ examples: Schema.optionalKey(Schema.Array(Schema.Json)) }),
            }),
          ),
          requestBody: Schema.optionalKey(
            Schema.Struct({ content: Schema.Struct({ "application/json": Shown }) }),
          ),
          security: Schema.Array(Schema.Record(Schema.String, Schema.Array(Schema.String))),
        }),
      ),
    ),
  ),
});

const KEY = "the-key-of-the-documented-endpoint";

/** The document inside of the page. */
const specIn = (page: string) => {
  const [, json = ""] = /content: (\{.*\})\s+\}\)\s+<\/script>/s.exec(page) ?? [];
  return Schema.decodeSync(Schema.fromJsonString(Page))(json);
};

describe("the API reference of serve", () => {
  it.live("has examples that succeed when they are sent as shown", () =>
    Effect.gen(function* () {
      const { port } = yield* serveInProcess([], { WORKER_SERVE_KEY: KEY });
      const { paths } = specIn((yield* ask(port, "/docs")).text);
      const sent: Array<string> = [];
      for (const [path, operations] of Object.entries(paths)) {
        for (const method of ["get", "post"] as const) {
          const operation = operations[method];
          if (operation === undefined) continue;
          const target = operation.parameters
            .filter(({ required }) => required)
            .reduce(
              (found, { name, schema }) => found.replace(`{${name}}`, String(schema.examples?.[0])),
              path,
            );
          const body = operation.requestBody?.content["application/json"].schema.examples[0];
          const needsKey = operation.security.some((scheme) => "bearer" in scheme);
          const answer = yield* ask(port, target, {
            method: method === "get" ? "GET" : "POST",
            ...(body === undefined ? {} : { body }),
            headers: needsKey ? { authorization: `Bearer ${KEY}` } : {},
          });
          sent.push(`${method} ${target}`);
          assert.include([200, 204], answer.status, `${method} ${target}: ${answer.text}`);
          if (path === "/runsync") {
            assert.deepNestedInclude(answer.json, { status: "COMPLETED", "output.json_result": 3 });
          }
          if (path === "/execute") {
            assert.deepInclude(answer.json, { success: true, json_result: 3 }, answer.text);
          }
        }
      }
      assert.lengthOf(sent, 12);
    }).pipe(Effect.scoped),
  );
});
