import { Console, Effect, Fiber, Option, Predicate, Schedule, Schema, Stream } from "effect";

import { EndpointClient, type RemoteJob } from "../endpoint/EndpointClient.ts";
import { isFinal, JobStatus } from "../protocol/EndpointJob.ts";
import { FunctionResponse } from "../protocol/FunctionResponse.ts";
import { reprOf } from "./Answer.ts";

/** Pauses between looks at a job: they grow from the first to the longest, in milliseconds. */
const FIRST_PAUSE = 100;
const LONGEST_PAUSE = 2000;

/** An endpoint that does not answer is asked again for so long, while the job goes on there: seconds. */
const PATIENCE = 60;

const decodeStatus = Schema.decodeUnknownOption(JobStatus);
const decodeResponse = Schema.decodeUnknownOption(FunctionResponse);
const decodeChunk = Schema.decodeUnknownOption(Schema.Struct({ output: Schema.Unknown }));

/** Whether a job has ended; a state that nobody knows of is no end. */
const hasEnded = ({ status }: RemoteJob): boolean => Option.exists(decodeStatus(status), isFinal);

const linesOf = (text: string): ReadonlyArray<string> => text.split(/(?<=\n)/).filter(Boolean);

/** A job's output from its last lines, of which each look shows a few. */
export const liveLines = () => {
  let shown: ReadonlyArray<string> = [];
  let isWhole = true;
  return {
    /** Those of the last lines that were not there at the look before. */
    fresh: (text: string): string => {
      const last = linesOf(text);
      let known = Math.min(shown.length, last.length);
      while (known > 0 && shown.slice(-known).join("") !== last.slice(0, known).join("")) {
        known -= 1;
      }
      const more = last.slice(known);
      const isGap = known === 0 && shown.length > 0 && more.length > 0;
      if (isGap) isWhole = false;
      shown = [...shown, ...more];
      return `${isGap ? "…\n" : ""}${more.join("")}`;
    },
    /** What of the whole output was not shown; all of it where lines are missing. */
    rest: (whole: string): string => {
      const text = shown.join("");
      return isWhole && whole.startsWith(text) ? whole.slice(text.length) : whole;
    },
  };
};

const progressOf = (job: RemoteJob) => {
  const { output } = job;
  const text = (name: string) =>
    Predicate.hasProperty(output, name) && typeof output[name] === "string" ? output[name] : "";
  return { stage: text("stage"), output: text("output") };
};

const show = (text: string) => (text === "" ? Effect.void : Console.log(text.replace(/\n$/, "")));

/** Follows a job to its end, and shows on the way what it prints, where it is and what it yields. */
export const watch = Effect.fn("invoke.watch")(function* (id: string, isQuiet: boolean) {
  const client = yield* EndpointClient;
  const lines = liveLines();
  let place = "";

  const look = client.status(id).pipe(
    Effect.retry({
      while: ({ isRetryable }) => isRetryable,
      schedule: Schedule.spaced({ milliseconds: LONGEST_PAUSE }).pipe(
        Schedule.upTo({ duration: { seconds: PATIENCE } }),
      ),
    }),
    Effect.tap((job) => {
      if (isQuiet || hasEnded(job)) return Effect.void;
      const { stage, output } = progressOf(job);
      const now = job.status === "IN_QUEUE" ? "in the queue" : stage;
      const news = now === "" || now === place ? Effect.void : Console.error(`  ${now} …`);
      place = now;
      return Effect.andThen(news, show(lines.fresh(output)));
    }),
  );

  const values = client.stream(id).pipe(
    Stream.runForEach(
      Effect.fnUntraced(function* (chunk) {
        if (isQuiet) return;
        const output = Option.map(decodeChunk(chunk), (one) => one.output);
        const response = Option.flatMap(output, decodeResponse);
        const shown = Option.isSome(response)
          ? yield* reprOf(response.value)
          : JSON.stringify(Option.getOrUndefined(output));
        yield* Console.log(`  yielded: ${shown ?? "a value that Python here can't load"}`);
      }),
    ),
    // The result has all values; that they come early is a courtesy.
    Effect.ignore,
  );

  const streaming = yield* Effect.forkScoped(values);
  const pauses = Schedule.min([
    Schedule.exponential(FIRST_PAUSE),
    Schedule.spaced({ milliseconds: LONGEST_PAUSE }),
  ]);
  const job = yield* Effect.repeat(look, { until: hasEnded, schedule: pauses });
  if (!isQuiet) yield* Effect.timeoutOption(streaming.pipe(Fiber.await), { seconds: 5 });
  return { job, rest: (stdout: string) => show(lines.rest(stdout)) };
}, Effect.scoped);
