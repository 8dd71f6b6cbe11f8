import { Console, Effect, Layer, Option, Schema, Struct } from "effect";
import { Argument, Command, Flag } from "effect/cli";

import { failure, FunctionResponse, success } from "../../domain/FunctionResponse.ts";
import { Failed, refuse } from "../process/CommandFailure.ts";
import { EndpointClient } from "../remote/EndpointClient.ts";
import type { RemoteJob } from "../remote/RemoteJob.ts";
import { watch } from "../requests/JobWatch.ts";
import { type FileRequest, forEachRequest } from "../requests/RequestFile.ts";
import { failureLine, reprOf, tellAnswer } from "../results/ResponsePrinter.ts";
import { displayOf, LOAD } from "../results/ResultDisplay.ts";
import { visibleWord } from "../results/TerminalText.ts";

const textOf = (value: unknown): string =>
  typeof value === "string" ? value : JSON.stringify(value);

const decodeAnswer = Schema.decodeUnknownOption(
  FunctionResponse.mapFields(Struct.map(Schema.optionalKey)),
);

/** RunPod moves the `error` of an answer out of `output` into a field of the job. */
const responseOf = ({ status, output, error }: RemoteJob): Option.Option<FunctionResponse> => {
  const reportedError =
    error === undefined || error === null || error === "" ? undefined : textOf(error);
  const answer = Option.getOrUndefined(decodeAnswer(output));
  if (answer?.success === true) return Option.some(success(answer));
  if (answer?.success === false) {
    return Option.some(failure(reportedError ?? answer.error ?? "It gave no reason.", answer));
  }
  if (status === "COMPLETED") return Option.none();
  return Option.some(failure(reportedError ?? `The job ended as ${visibleWord(status)}.`));
};

const secondsOf = (milliseconds: number | undefined) => ((milliseconds ?? 0) / 1000).toFixed(2);

/** Sends one request and waits for its end; returns whether it succeeded. */
const invokeOne = Effect.fn("invoke.request")(function* (request: FileRequest, json: boolean) {
  const client = yield* EndpointClient;
  if (!json) yield* Console.log(`▶ ${request.label}`);
  const id = yield* client.run(request.input);
  yield* Console.error(`  job ${id} at ${client.url}`);
  const { job, rest } = yield* watch(id, json).pipe(
    Effect.onInterrupt(() =>
      client.cancel(id).pipe(
        Effect.andThen(Console.error(`  job ${id} was cancelled`)),
        Effect.catch(({ message }) =>
          Console.error(`  job ${id} could not be cancelled and may go on: ${message}`),
        ),
      ),
    ),
  );
  const response = responseOf(job);
  if (Option.isNone(response)) {
    // The answer of another kind of worker is shown unchanged.
    yield* Console.log(JSON.stringify(job.output ?? null));
    return true;
  }
  if (json) {
    yield* Console.log(JSON.stringify(response.value));
    if (!response.value.success) {
      yield* Console.error(`  job ${failureLine(id, "", response.value)}`);
    }
  } else {
    yield* rest(response.value.stdout ?? "");
    yield* tellAnswer(response.value, {
      subject: `job ${id}`,
      mark: response.value.success ? "✓" : "✗",
      took: `${secondsOf(job.executionTime)} s, after ${secondsOf(job.delayTime)} s in the queue`,
      repr: yield* reprOf(response.value),
    });
  }
  return response.value.success;
});

const handler = Effect.fn("invoke")(function* ({
  files,
  json,
}: {
  readonly files: ReadonlyArray<string>;
  readonly json: boolean;
}) {
  let failed = 0;
  const unusable = yield* forEachRequest(
    files,
    Effect.fnUntraced(function* (request) {
      const isGood = yield* Effect.catchTag(invokeOne(request, json), "EndpointFailed", (error) =>
        Effect.as(Console.error(error.message), false),
      );
      if (!isGood) failed += 1;
    }),
  );
  if (unusable > 0) return yield* new Failed({ exitCode: 2 });
  if (failed > 0) return yield* new Failed({ exitCode: 1 });
});

/** `invoke ENDPOINT FILE…`: request files to an endpoint, deployed or local. */
export const invoke = Command.make(
  "invoke",
  {
    endpoint: Argument.String("endpoint").pipe(
      Argument.withDescription("The id of the endpoint, as RunPod's console shows it"),
    ),
    files: Argument.String("file").pipe(
      Argument.withDescription("Request files, as for run; - is stdin"),
      Argument.variadic({ min: 1 }),
    ),
    url: Flag.String("url").pipe(
      Flag.withDescription("An endpoint elsewhere, such as http://127.0.0.1:8000 of serve"),
      Flag.optional,
    ),
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("Print one answer a line on stdout and nothing else there"),
      Flag.withDefault(false),
    ),
    load: LOAD,
  },
  ({ endpoint, url, load, ...options }) =>
    handler(options).pipe(
      Effect.provide(Layer.merge(EndpointClient.layer(endpoint, url), displayOf(load))),
      Effect.catchTags({
        EndpointInvalid: refuse,
        EndpointFailed: ({ message }) =>
          Effect.andThen(Console.error(message), Effect.fail(new Failed({ exitCode: 1 }))),
      }),
    ),
).pipe(
  Command.withDescription(
    "Send request files to an endpoint and show what comes of them; Ctrl-C cancels the job. The key is taken from RUNPOD_API_KEY",
  ),
  Command.withShortDescription("Send request files to an endpoint and show what comes of them"),
  Command.withExamples([
    {
      command: "worker-tetra invoke abc123 fixtures/hello_world.json",
      description: "Run a request at an endpoint of yours",
    },
    {
      command: "worker-tetra invoke local --url http://127.0.0.1:8000 request.json",
      description: "Run it at an endpoint that serve offers on this machine",
    },
  ]),
);
