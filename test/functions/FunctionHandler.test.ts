import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { EncodedResponse } from "../../src/domain/EncodedResponse.ts";
import { success } from "../../src/domain/FunctionResponse.ts";
import { makeFunctionHandler } from "../../src/functions/FunctionHandler.ts";
import { RemoteExecutor } from "../../src/functions/RemoteExecutor.ts";

/** An executor that records its own name, and the name of the span in which it runs. */
const recordingExecutor = (name: string, runs: Array<string>) =>
  RemoteExecutor.of({
    execute: () => Effect.die("not used"),
    executeEncoded: () =>
      Effect.map(Effect.orDie(Effect.currentSpan), (span) => {
        runs.push(`${name} in ${span.name}`);
        return EncodedResponse.of(success({}));
      }),
  });

describe("makeFunctionHandler", () => {
  it.effect("keeps only the executor of the context in which it was made", () =>
    Effect.gen(function* () {
      const runs: Array<string> = [];
      const handler = yield* makeFunctionHandler.pipe(
        Effect.provideService(RemoteExecutor, recordingExecutor("first", runs)),
        Effect.withSpan("start"),
      );
      yield* handler({ id: "1", input: {} }).pipe(
        Effect.provideService(RemoteExecutor, recordingExecutor("second", runs)),
        Effect.withSpan("request"),
      );
      assert.deepStrictEqual(runs, ["first in request"]);
    }),
  );
});
