import { Effect } from "effect";

import { EncodedResponse } from "../domain/EncodedResponse.ts";
import { failure } from "../domain/FunctionResponse.ts";
import type { Job } from "../domain/Job.ts";
import { RemoteExecutor } from "./RemoteExecutor.ts";

/** Runs the function that a job's input describes. */
export const functionHandler = Effect.fnUntraced(function* ({ input, inputText }: Job) {
  // RunPod removes an empty input from the job.
  if (input === undefined || input === null) {
    return EncodedResponse.of(
      failure(
        "The job has no input: RunPod drops an empty one. Send a function or class request under `input`, as tetra-rp and Flash do.",
      ),
    );
  }
  return yield* (yield* RemoteExecutor).executeEncoded(input, inputText);
});

/** Makes the same handler without requirements: it uses the executor of the context in which it was made. */
export const makeFunctionHandler = Effect.map(
  RemoteExecutor,
  (executor) => (job: Job) => Effect.provideService(functionHandler(job), RemoteExecutor, executor),
);
