import { Effect } from "effect";

import { EncodedResponse } from "../domain/EncodedResponse.ts";
import { failure } from "../domain/FunctionResponse.ts";
import type { Job } from "../domain/Job.ts";
import { RemoteExecutor } from "./RemoteExecutor.ts";

/** Runs the function that a job's input describes. */
export const functionHandler = Effect.fnUntraced(function* ({ input }: Job) {
  // Nobody could have meant to ask for nothing, but the service drops an empty input.
  if (input === undefined || input === null) {
    return EncodedResponse.of(
      failure(
        "The job has no input: RunPod drops an empty one. Send the request of a function or a class under `input`, as tetra-rp and Flash do.",
      ),
    );
  }
  return yield* (yield* RemoteExecutor).executeEncoded(input);
});
