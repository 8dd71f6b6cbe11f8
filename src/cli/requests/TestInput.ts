import { Effect, FileSystem, Option, Schema } from "effect";

import { Job } from "../../domain/Job.ts";
import { parseJson } from "../../domain/JsonLimits.ts";
import * as Setting from "../../settings/Setting.ts";

const TEST_INPUT = Setting.optionalText({
  name: "RUNPOD_TEST_INPUT",
  doc: "One job as JSON, to be run instead of RunPod's; `--test_input` wins over it.",
  expected: 'a job, such as {"input": …}',
  fallback: "the file test_input.json where there is no queue",
});

/** The file in the current directory. */
const FILE = "test_input.json";

/** The text that was given as a test job is not a job. */
export class TestInputUnusable extends Schema.TaggedError<TestInputUnusable>()(
  "TestInputUnusable",
  { source: Schema.String, reason: Schema.String },
) {
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
      ({ message }) => new TestInputUnusable({ source, reason: `is no job: ${message}` }),
    ),
    Effect.flatMap((job) =>
      job.input === undefined || job.input === null
        ? Effect.fail(new TestInputUnusable({ source, reason: 'has no "input"' }))
        : Effect.succeed<Job>({ id: "local_test", ...job }),
    ),
  );

/**
 * The job of a test, if there is one: from the flag, from the variable, or, where there is no queue, from the
 * file in the current directory.
 */
export const testInput = Effect.fn("TestInput")(function* (
  flag: Option.Option<string>,
  hasQueue: boolean,
): Effect.fn.Return<
  Option.Option<Job>,
  TestInputUnusable | Setting.SettingInvalid,
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
