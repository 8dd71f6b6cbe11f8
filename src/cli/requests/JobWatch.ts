import {
  Console,
  Duration,
  Effect,
  Fiber,
  Option,
  Predicate,
  Schedule,
  Schema,
  Stream,
} from "effect";

import { isFinal, JobStatus } from "../../domain/EndpointJob.ts";
import { FunctionResponse } from "../../domain/FunctionResponse.ts";
import { backoff } from "../../platform/Backoff.ts";
import { EndpointClient, type RemoteJob } from "../remote/EndpointClient.ts";
import { reprOf } from "../results/ResponsePrinter.ts";
import { visibleWord } from "../results/TerminalText.ts";

/** Pauses between looks at a job: they grow from the first to the longest. */
const FIRST_PAUSE = Duration.millis(100);
const LONGEST_PAUSE = Duration.seconds(2);

/** An endpoint that does not answer is asked again for so long, while the job goes on there: seconds. */
const PATIENCE = 60;

/** The longest name of a stage, in characters. */
const MAX_STAGE = 100;

const decodeStatus = Schema.decodeUnknownOption(JobStatus);
const decodeResponse = Schema.decodeUnknownOption(FunctionResponse);
const decodeChunk = Schema.decodeUnknownOption(Schema.Struct({ output: Schema.Unknown }));

/** Whether a job has ended; an unknown state is not final. */
const hasEnded = ({ status }: RemoteJob): boolean => Option.exists(decodeStatus(status), isFinal);

/** The most of an output's last lines that is examined; workers send far fewer. */
const MAX_LINES = 200;
const MAX_CHARACTERS = 1024 * 1024;

/** Characters of the shown output that are remembered; longer output is shown again in full at the end. */
const MAX_REMEMBERED = 16 * 1024 * 1024;

const linesOf = (text: string): ReadonlyArray<string> =>
  text
    .slice(-MAX_CHARACTERS)
    .split(/(?<=\n)/)
    .filter(Boolean)
    .slice(-MAX_LINES);

/** The number of lines at the end of `before` that are also the start of `after`. */
const overlapOf = (before: ReadonlyArray<string>, after: ReadonlyArray<string>): number => {
  let known = Math.min(before.length, after.length);
  const isSame = (count: number) => before.slice(-count).every((line, at) => line === after[at]);
  while (known > 0 && !isSame(known)) known -= 1;
  return known;
};

/** Puts a job's output together from its last lines, which each poll returns. */
export const liveLines = () => {
  let shown = "";
  let recent: ReadonlyArray<string> = [];
  let isWhole = true;
  return {
    /** The lines that the previous poll did not return. */
    fresh: (text: string): string => {
      const last = linesOf(text);
      const known = overlapOf(recent, last);
      const more = last.slice(known);
      const isGap = known === 0 && recent.length > 0 && more.length > 0;
      recent = [...recent, ...more].slice(-MAX_LINES);
      if (isGap || shown.length > MAX_REMEMBERED) isWhole = false;
      if (isWhole) shown += more.join("");
      return `${isGap ? "…\n" : ""}${more.join("")}`;
    },
    /** What of the whole output was not shown; all of it where lines are missing. */
    rest: (whole: string): string =>
      isWhole && whole.startsWith(shown) ? whole.slice(shown.length) : whole,
  };
};

const progressOf = (job: RemoteJob) => {
  const { output } = job;
  const text = (name: string) =>
    Predicate.hasProperty(output, name) && typeof output[name] === "string" ? output[name] : "";
  return { stage: visibleWord(text("stage").slice(0, MAX_STAGE)), output: text("output") };
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
      schedule: Schedule.spaced(LONGEST_PAUSE).pipe(
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
        const output = Option.map(decodeChunk(chunk), (one) => one.output);
        const response = Option.flatMap(output, decodeResponse);
        const shown = Option.isSome(response)
          ? yield* reprOf(response.value)
          : JSON.stringify(Option.getOrUndefined(output));
        yield* Console.log(`  yielded: ${shown ?? "nothing"}`);
      }),
    ),
    // The result has all values, so streaming them early is optional.
    Effect.ignore,
  );

  // With --json, the values come with the result.
  const streaming = yield* Effect.forkScoped(isQuiet ? Effect.void : values);
  const job = yield* Effect.repeat(look, {
    until: hasEnded,
    schedule: backoff(FIRST_PAUSE, LONGEST_PAUSE),
  });
  if (!isQuiet) yield* Effect.timeoutOption(streaming.pipe(Fiber.await), { seconds: 5 });
  return { job, rest: (stdout: string) => show(lines.rest(stdout)) };
}, Effect.scoped);
