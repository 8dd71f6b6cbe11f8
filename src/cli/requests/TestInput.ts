import { Effect, FileSystem, Option, Schema } from "effect";

import { inputTextIn, Job } from "../../domain/Job.ts";
import { parseJson } from "../../domain/JsonLimits.ts";
import * as Setting from "../../settings/Setting.ts";

const TEST_INPUT = Setting.optionalText({
  name: "RUNPOD_TEST_INPUT",
  doc: "A job as JSON to run instead of jobs from RunPod. `--test_input` takes precedence.",
  expected: 'a job, such as {"input": …}',
  fallback: "the file test_input.json if there is no queue",
});

/** Read from the current directory. */
const FILE = "test_input.json";

/** The given test job is invalid. */
export class TestInputInvalid extends Schema.TaggedError<TestInputInvalid>()("TestInputInvalid", {
  source: Schema.String,
  reason: Schema.String,
}) {
  override get message(): string {
    return `${this.source}: ${this.reason}`;
  }
}

const decode = Schema.decodeUnknownEffect(
  Schema.Struct({ ...Job.fields, id: Schema.optionalKey(Schema.NonEmptyString) }),
);

const jobOf = (source: string, text: string) =>
  Effect.fromResult(parseJson(Buffer.from(text))).pipe(
    Effect.flatMap(decode),
    Effect.mapError(
      ({ message }) => new TestInputInvalid({ source, reason: `not a valid job: ${message}` }),
    ),
    Effect.flatMap((job) =>
      job.input === undefined || job.input === null
        ? Effect.fail(new TestInputInvalid({ source, reason: 'has no "input"' }))
        : Effect.succeed<Job>({ id: "local_test", ...job, ...inputTextIn(Buffer.from(text)) }),
    ),
  );

/**
 * The test job, if there is one: from the flag, from the variable, or, if there is no queue, from the file in the
 * current directory.
 */
export const testInput = Effect.fn("TestInput")(function* (
  flag: Option.Option<string>,
  hasQueue: boolean,
): Effect.fn.Return<
  Option.Option<Job>,
  TestInputInvalid | Setting.SettingInvalid,
  FileSystem.FileSystem
> {
  if (Option.isSome(flag)) return Option.some(yield* jobOf("--test_input", flag.value));
  const variable = yield* TEST_INPUT.value;
  if (Option.isSome(variable))
    return Option.some(yield* jobOf("RUNPOD_TEST_INPUT", variable.value));
  if (hasQueue) return Option.none();
  const text = yield* Effect.option((yield* FileSystem.FileSystem).readFileString(FILE));
  return Option.isSome(text) ? Option.some(yield* jobOf(FILE, text.value)) : Option.none();
});
