import { once } from "node:events";

import { assert, describe, it } from "@effect/vitest";
import { Duration, Effect } from "effect";

import { EncodedResponse } from "../../../src/domain/EncodedResponse.ts";
import { success } from "../../../src/domain/FunctionResponse.ts";
import { makeUnreadResponses, UnreadResponses } from "../../../src/endpoint/http/Connection.ts";
import { keptLogs } from "../../support/fakes/CapturedLogs.ts";
import { openConnection } from "../../support/http/Connection.ts";
import { ask } from "../../support/http/HttpRequest.ts";
import { endpoint } from "../../support/http/TestEndpoint.ts";

/** Larger than the socket buffers, so that a response that is not read stays in memory. */
const SIZE = 12_000_000;

const largeResponses = endpoint({}, () =>
  Effect.succeed(EncodedResponse.of(success({ stdout: "x".repeat(SIZE) }))),
);

/** A client that has read only the beginning of a large response. */
const startReading = (port: number) =>
  openConnection(
    port,
    "POST /execute HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
  ).pipe(
    Effect.tap((socket) => Effect.promise(() => once(socket, "readable"))),
    Effect.map((socket) => ({
      /** The number of bytes until the connection closes. */
      readRest: Effect.promise(async () => {
        let bytes = 0;
        socket.on("data", ({ byteLength }: Buffer) => (bytes += byteLength));
        if (!socket.closed) await once(socket, "close").catch(() => {});
        return bytes;
      }),
    })),
  );

describe("unread responses", () => {
  it.live("are aborted, oldest first, when newer ones exceed the memory limit", () => {
    const logs = keptLogs();
    return Effect.gen(function* () {
      const { port } = yield* largeResponses;
      const first = yield* startReading(port);
      const second = yield* startReading(port);
      assert.strictEqual((yield* ask(port, "/execute", { body: {} })).status, 200);
      assert.isBelow(yield* first.readRest, SIZE);
      assert.isAbove(yield* second.readRest, SIZE);
      assert.match(logs.warnings().join(), /^Closed 1 connections of clients that do not read/);
      // A response that was sent is no longer counted.
      const later = yield* startReading(port);
      assert.strictEqual((yield* ask(port, "/execute", { body: {} })).status, 200);
      assert.isAbove(yield* later.readRest, SIZE);
      assert.lengthOf(logs.warnings(), 1);
    }).pipe(
      Effect.scoped,
      Effect.provideService(UnreadResponses, makeUnreadResponses(2.5 * SIZE, Duration.minutes(1))),
      Effect.provide(logs.layer),
    );
  });

  it.live("are aborted when their client reads nothing for a minute", () =>
    Effect.gen(function* () {
      const { port, drain } = yield* largeResponses;
      const client = yield* startReading(port);
      yield* drain.requestsFinished;
      assert.isBelow(yield* client.readRest, SIZE);
    }).pipe(
      Effect.scoped,
      Effect.provideService(
        UnreadResponses,
        makeUnreadResponses(Number.POSITIVE_INFINITY, Duration.millis(50)),
      ),
    ),
  );
});
