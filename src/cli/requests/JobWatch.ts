import {
  Console,
  Duration,
  Effect,
  Fiber,
  Option,
  Predicate,
  Ref,
  Schedule,
  Schema,
  Stream,
} from "effect";

import { FunctionResponse } from "../../domain/FunctionResponse.ts";
import { backoff } from "../../platform/timing/Backoff.ts";
import { EndpointClient } from "../remote/EndpointClient.ts";
import { hasEnded, type RemoteJob } from "../remote/RemoteJob.ts";
import { reprOf } from "../results/ResponsePrinter.ts";
import { visibleLine } from "../results/TerminalText.ts";
import { polledOutput } from "./PolledOutput.ts";

/** Pauses between polls of a job; they grow from the first to the longest. */
const FIRST_PAUSE = Duration.millis(100);
const LONGEST_PAUSE = Duration.seconds(2);

/** How long to retry if the endpoint does not respond. The job may still be running. */
const RETRY_TIMEOUT = Duration.minutes(1);

/** How long to wait for the rest of a stream after its job has ended. */
const STREAM_END_TIMEOUT = Duration.seconds(5);

/** Maximum length of a stage's name, in characters. */
const MAX_STAGE = 100;

const decodeResponse = Schema.decodeUnknownOption(FunctionResponse);
const decodeChunk = Schema.decodeUnknownOption(Schema.Struct({ output: Schema.Unknown }));

/** The stage of a job and the last lines of its output. */
const progressOf = ({ status, output }: RemoteJob) => {
  const text = (name: string) =>
    Predicate.hasProperty(output, name) && typeof output[name] === "string" ? output[name] : "";
  const stage = visibleLine(text("stage").slice(0, MAX_STAGE));
  return { stage: status === "IN_QUEUE" ? "in the queue" : stage, output: text("output") };
};

const show = (text: string) => (text === "" ? Effect.void : Console.log(text.replace(/\n$/, "")));

/** Shows the values of a generator. */
const showValues = (values: EndpointClient["Service"]["stream"], id: string) =>
  Stream.runForEach(
    values(id),
    Effect.fnUntraced(function* (chunk) {
      const output = Option.map(decodeChunk(chunk), (one) => one.output);
      const response = Option.flatMap(output, decodeResponse);
      const shown = Option.isSome(response)
        ? yield* reprOf(response.value)
        : JSON.stringify(Option.getOrUndefined(output));
      yield* Console.log(`  yielded: ${shown ?? "nothing"}`);
    }),
    // The result contains all values, so a failed stream is not an error.
  ).pipe(Effect.ignore);

/** Polls a job until it has ended, and shows its stage, its output and its yielded values meanwhile. */
export const watch = Effect.fn("invoke.watch")(function* (id: string, isQuiet: boolean) {
  const client = yield* EndpointClient;
  const lines = polledOutput();
  const shownStage = yield* Ref.make("");

  const showProgress = Effect.fnUntraced(function* (job: RemoteJob) {
    const { stage, output } = progressOf(job);
    const before = yield* Ref.getAndSet(shownStage, stage);
    if (stage !== "" && stage !== before) yield* Console.error(`  ${stage} …`);
    yield* show(lines.fresh(output));
  });

  const poll = client.status(id).pipe(
    Effect.retry({
      while: ({ isRetryable }) => isRetryable,
      schedule: Schedule.spaced(LONGEST_PAUSE).pipe(Schedule.upTo({ duration: RETRY_TIMEOUT })),
    }),
    Effect.tap((job) => (isQuiet || hasEnded(job.status) ? Effect.void : showProgress(job))),
  );

  // With --json, values are only shown as part of the result.
  const streaming = yield* Effect.forkScoped(isQuiet ? Effect.void : showValues(client.stream, id));
  const job = yield* Effect.repeat(poll, {
    until: ({ status }) => hasEnded(status),
    schedule: backoff(FIRST_PAUSE, LONGEST_PAUSE),
  });
  if (!isQuiet) yield* Effect.timeoutOption(Fiber.await(streaming), STREAM_END_TIMEOUT);
  return { job, rest: (stdout: string) => show(lines.rest(stdout)) };
}, Effect.scoped);
