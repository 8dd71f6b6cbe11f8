import { Schema } from "effect";

/** What is known of an instance; times are ISO 8601 in UTC. */
export const InstanceInfo = Schema.Struct({
  class_name: Schema.String,
  created_at: Schema.String,
  method_calls: Schema.Int,
  last_used: Schema.String,
});
export type InstanceInfo = typeof InstanceInfo.Type;

/** The answer to a request, as it goes over the wire: every key is there, null where it says nothing. */
export const FunctionResponse = Schema.Struct({
  success: Schema.Boolean,
  /** Base64 of a cloudpickle, also of None. */
  result: Schema.NullOr(Schema.String),
  /** The value itself when the request asked for plain JSON. */
  json_result: Schema.NullOr(Schema.Json),
  /** What failed and what to do, then the Python traceback where there is one. */
  error: Schema.NullOr(Schema.String),
  /** What the code and everything under it wrote, in the order written. */
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

/** The answer of a job that did what was asked. */
export const success = (fields: Partial<FunctionResponse>): FunctionResponse => ({
  ...empty,
  ...fields,
  success: true,
});

/** The answer of a job that did not; clients need `error` to be filled, whatever happened. */
export const failure = (
  error: string,
  fields: Partial<FunctionResponse> = {},
): FunctionResponse => ({ ...empty, ...fields, success: false, error });
