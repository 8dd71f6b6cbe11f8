import { Effect } from "effect";

import { fakeRunPod } from "../fakes/FakeRunPod.ts";
import { workerProcess } from "../processes/WorkerProcess.ts";
import { freshContainer } from "./FreshContainer.ts";

/**
 * Starts a worker in a fresh container with a volume, as leader of a process group; `answer` sends it a job and waits
 * for the response.
 */
export const volumeWorker = Effect.fnUntraced(function* (
  volume: string,
  variables: Readonly<Record<string, string>> = {},
) {
  const container = yield* freshContainer(volume);
  const service = yield* fakeRunPod();
  const worker = yield* workerProcess(
    { ...service.variables, ...container, ...variables },
    ["start"],
    undefined,
    true,
  );
  return {
    ...worker,
    container,
    service,
    /** The response to a job. */
    answer: (input: unknown) =>
      Effect.map(
        Effect.suspend(() => service.result(service.submit(input))),
        ({ body }) => body,
      ),
  };
});
