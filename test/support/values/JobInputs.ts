type Fields = Readonly<Record<string, unknown>>;

/** The input of a job that calls the function `f` of this code. Arguments and result are JSON values. */
export const functionInput = (
  code: string,
  args: ReadonlyArray<unknown> = [],
  more: Fields = {},
) => ({
  function_name: "f",
  function_code: code,
  args,
  serialization_format: "json",
  ...more,
});

/** The input of a job that calls a method of an instance, which is created if it does not exist. */
export const methodInput = (
  code: string,
  className: string,
  instance: string,
  method: string,
  args: ReadonlyArray<unknown> = [],
  more: Fields = {},
) => ({
  execution_type: "class",
  class_name: className,
  class_code: code,
  instance_id: instance,
  create_new_instance: false,
  method_name: method,
  args,
  serialization_format: "json",
  ...more,
});
