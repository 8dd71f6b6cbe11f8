import { Option, Result, Schema } from "effect";

import { inputTextIn, Job } from "../../domain/Job.ts";
import { elementsOf, parseJson, stringMember } from "../../domain/JsonLimits.ts";
import { excerpt } from "../../settings/Excerpt.ts";

/** The maximum length of an invalid job in the log. */
const MAX_JOB_CHARACTERS = 200;

/** An invalid job from RunPod. */
interface InvalidJob {
  /** The id, if it is valid: the job can then be reported as failed. */
  readonly id: string | undefined;
  readonly problem: string;
}

/** The jobs in the response to a take. */
export interface Taken {
  readonly jobs: ReadonlyArray<Job>;
  readonly invalid: ReadonlyArray<InvalidJob>;
}

/** The result of a take without jobs. */
export const NO_JOBS: Taken = { jobs: [], invalid: [] };

const decodeJob = Schema.decodeUnknownOption(Job);
const decodeId = Schema.decodeUnknownOption(Schema.Struct({ id: Schema.NonEmptyString }));

type Mask = (text: string) => string;

const jobsIn = (document: unknown, body: Uint8Array, mask: Mask): Taken => {
  if (typeof document !== "object" || document === null) return NO_JOBS;
  const jobs: Array<Job> = [];
  const invalid: Array<InvalidJob> = [];
  const texts = elementsOf(body);
  for (const [index, one] of (Array.isArray(document) ? document : [document]).entries()) {
    const job = decodeJob(one);
    if (Option.isSome(job)) {
      const text = texts[index];
      jobs.push({ ...job.value, ...(text === undefined ? {} : inputTextIn(text)) });
      continue;
    }
    const id = Option.map(decodeId(one), (named) => named.id);
    const shown = excerpt(mask(JSON.stringify(one) ?? ""), MAX_JOB_CHARACTERS);
    invalid.push({
      id: Option.getOrUndefined(id),
      problem: `Received an invalid job from RunPod: ${shown}`,
    });
  }
  return { jobs, invalid };
};

/**
 * Reads the jobs in the body of a response; a body that is not JSON has none. A job that is too complex does not affect
 * the others.
 */
export const parseTaken = (body: Uint8Array, mask: Mask): Taken => {
  const parsed = parseJson(body);
  if (Result.isSuccess(parsed)) return jobsIn(parsed.success, body, mask);
  if (parsed.failure._tag === "JsonInvalid") return NO_JOBS;
  const parts = elementsOf(body).map((bytes): Taken => {
    const one = parseJson(bytes);
    if (Result.isSuccess(one)) return jobsIn(one.success, bytes, mask);
    if (one.failure._tag === "JsonInvalid") return NO_JOBS;
    return {
      jobs: [],
      invalid: [{ id: stringMember(bytes, "id"), problem: one.failure.message }],
    };
  });
  return {
    jobs: parts.flatMap(({ jobs }) => jobs),
    invalid: parts.flatMap(({ invalid }) => invalid),
  };
};
