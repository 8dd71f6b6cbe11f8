import { Schema } from "effect";

/** The state of an instance; times are ISO 8601 in UTC. */
export const InstanceInfo = Schema.Struct({
  class_name: Schema.String,
  created_at: Schema.String,
  method_calls: Schema.Int,
  last_used: Schema.String,
});
export type InstanceInfo = typeof InstanceInfo.Type;

/** The response to a request as it is sent: all keys are present, and null if unused. */
export const FunctionResponse = Schema.Struct({
  success: Schema.Boolean,
  /** Base64 of a cloudpickle, also for None. */
  result: Schema.NullOr(Schema.String),
  /** The value itself if the request uses plain JSON. */
  json_result: Schema.NullOr(Schema.Json),
  /** What failed and what to do, then the Python traceback if there is one. */
  error: Schema.NullOr(Schema.String),
  /** The output of the code and of its child processes, in the order written. */
  stdout: Schema.NullOr(Schema.String),
  instance_id: Schema.NullOr(Schema.String),
  instance_info: Schema.NullOr(InstanceInfo),
});
export type FunctionResponse = typeof FunctionResponse.Type;

const empty: FunctionResponse = {
  success: false,
  result: null,
  json_result: null,
  error: null,
  stdout: null,
  instance_id: null,
  instance_info: null,
};

/** The response of a successful job. */
export const success = (fields: Partial<FunctionResponse>): FunctionResponse => ({
  ...empty,
  ...fields,
  success: true,
});

/** The response of a failed job; clients require an `error`. */
export const failure = (
  error: string,
  fields: Partial<FunctionResponse> = {},
): FunctionResponse => ({ ...empty, ...fields, success: false, error });
