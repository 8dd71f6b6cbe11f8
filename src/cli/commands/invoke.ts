import { Console, Effect, Layer, Option, Schema, Struct } from "effect";
import { Argument, Command, Flag } from "effect/cli";

import { failure, FunctionResponse, success } from "../../domain/FunctionResponse.ts";
import { Failed, refuse } from "../process/CommandFailure.ts";
import { EndpointClient } from "../remote/EndpointClient.ts";
import type { RemoteJob } from "../remote/RemoteJob.ts";
import { watch } from "../requests/JobWatch.ts";
import { type FileRequest, forEachRequest } from "../requests/RequestFile.ts";
import { failureLine, reprOf, printOutcome } from "../results/ResponsePrinter.ts";
import { displayOf, LOAD } from "../results/ResultDisplay.ts";
import { visibleLine } from "../results/TerminalText.ts";

const textOf = (value: unknown): string =>
  typeof value === "string" ? value : JSON.stringify(value);

const decodeOutput = Schema.decodeUnknownOption(
  FunctionResponse.mapFields(Struct.map(Schema.optionalKey)),
);

/** RunPod moves the `error` of a response out of `output` into a field of the job. */
const responseOf = ({ status, output, error }: RemoteJob): Option.Option<FunctionResponse> => {
  const reportedError =
    error === undefined || error === null || error === "" ? undefined : textOf(error);
  const response = Option.getOrUndefined(decodeOutput(output));
  if (response?.success === true) return Option.some(success(response));
  if (response?.success === false) {
    return Option.some(failure(reportedError ?? response.error ?? "No error message.", response));
  }
  if (status === "COMPLETED") return Option.none();
  return Option.some(failure(reportedError ?? `The job ended with status ${visibleLine(status)}.`));
};

const secondsOf = (milliseconds: number | undefined) => ((milliseconds ?? 0) / 1000).toFixed(2);

/** Sends one request and waits until its job has ended; returns whether it succeeded. */
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
          Console.error(`  could not cancel job ${id}, which may still be running: ${message}`),
        ),
      ),
    ),
  );
  const response = responseOf(job);
  if (Option.isNone(response)) {
    // Responses of other kinds of workers are shown unchanged.
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
    yield* printOutcome(response.value, {
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
  const invalidFiles = yield* forEachRequest(
    files,
    Effect.fnUntraced(function* (request) {
      const isSuccessful = yield* Effect.catchTag(
        invokeOne(request, json),
        "EndpointFailed",
        (error) => Effect.as(Console.error(error.message), false),
      );
      if (!isSuccessful) failed += 1;
    }),
  );
  if (invalidFiles > 0) return yield* new Failed({ exitCode: 2 });
  if (failed > 0) return yield* new Failed({ exitCode: 1 });
});

export const invoke = Command.make(
  "invoke",
  {
    endpoint: Argument.String("endpoint").pipe(
      Argument.withDescription("Endpoint ID, as shown in RunPod's console"),
    ),
    files: Argument.String("file").pipe(
      Argument.withDescription("Request files, as for run. - reads stdin"),
      Argument.variadic({ min: 1 }),
    ),
    url: Flag.String("url").pipe(
      Flag.withDescription(
        "URL of another server, such as http://127.0.0.1:8000 for a local endpoint",
      ),
      Flag.optional,
    ),
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("Print one response per line on stdout, and everything else on stderr"),
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
    "Send request files to an endpoint and show progress and results. Ctrl-C cancels the job. The API key is read from RUNPOD_API_KEY",
  ),
  Command.withShortDescription("Send request files to an endpoint and show progress and results"),
  Command.withExamples([
    {
      command: "worker-tetra invoke abc123 fixtures/hello_world.json",
      description: "Run a request on your endpoint",
    },
    {
      command: "worker-tetra invoke local --url http://127.0.0.1:8000 request.json",
      description: "Run a request on a local endpoint started with serve",
    },
  ]),
);
