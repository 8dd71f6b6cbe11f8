import { Effect, Predicate, Schema, SchemaIssue, SchemaTransformation } from "effect";

/** The request is invalid, and nothing was run. */
export class RequestInvalid extends Schema.TaggedError<RequestInvalid>()("RequestInvalid", {
  /** The path of the invalid value, such as `args[0]`; empty for the whole request. */
  field: Schema.String,
  /** What is expected, and what to do. */
  expected: Schema.String,
}) {
  override get message(): string {
    const path = this.field === "" ? "" : `"${this.field}": `;
    return `Invalid request: ${path}${this.expected}`;
  }
}

/** How arguments and results are encoded: base64 of a cloudpickle, or plain JSON. */
export const SerializationFormat = Schema.Literals(["cloudpickle", "json"]);
export type SerializationFormat = typeof SerializationFormat.Type;

const list = <S extends Schema.Constraint>(item: S) =>
  Schema.Array(item).pipe(Schema.withDecodingDefaultKey(Effect.succeed([])));

const values = Schema.Record(Schema.String, Schema.Unknown).pipe(
  Schema.withDecodingDefaultKey(Effect.succeed({})),
);

const TRUE = ["true", "yes", "on", "1", "y", "t"] as const;
const FALSE = ["false", "no", "off", "0", "n", "f"] as const;

/** Also accepts values such as `"yes"` or `1`, like the protocol class of clients. */
const flag = Schema.Literals([true, false, 1, 0, ...TRUE, ...FALSE]).pipe(
  Schema.decodeTo(
    Schema.Boolean,
    SchemaTransformation.transform({
      decode: (given) => given === true || given === 1 || TRUE.some((text) => text === given),
      encode: (value) => value,
    }),
  ),
);

/** The fields as clients send them. Defaults are those of the protocol class of clients. */
const Fields = Schema.Struct({
  execution_type: Schema.Literals(["function", "class"]).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed("function" as const)),
  ),
  function_name: Schema.optionalKey(Schema.String),
  function_code: Schema.optionalKey(Schema.String),
  class_name: Schema.optionalKey(Schema.String),
  class_code: Schema.optionalKey(Schema.String),
  args: list(Schema.Unknown),
  kwargs: values,
  constructor_args: list(Schema.Unknown),
  constructor_kwargs: values,
  method_name: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed("__call__"))),
  instance_id: Schema.optionalKey(Schema.String),
  create_new_instance: flag.pipe(Schema.withDecodingDefaultKey(Effect.succeed(true))),
  dependencies: list(Schema.String),
  system_dependencies: list(Schema.String),
  accelerate_downloads: flag.pipe(Schema.withDecodingDefaultKey(Effect.succeed(true))),
  serialization_format: SerializationFormat.pipe(
    Schema.withDecodingDefaultKey(Effect.succeed("cloudpickle" as const)),
  ),
  modules: Schema.Record(Schema.String, Schema.String).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed({})),
  ),
});
type Fields = typeof Fields.Type;

interface Shared {
  readonly args: ReadonlyArray<unknown>;
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly dependencies: ReadonlyArray<string>;
  readonly systemDependencies: ReadonlyArray<string>;
  readonly accelerateDownloads: boolean;
  readonly format: SerializationFormat;
  /** Local modules that the code imports: relative POSIX paths and source texts. */
  readonly modules: Readonly<Record<string, string>>;
  /** The source text that defines `name`. */
  readonly code: string;
  readonly name: string;
}

/** Calls a function. */
interface FunctionCall extends Shared {
  readonly kind: "function";
}

/** Calls a method of an instance, which is kept for later calls. */
interface ClassCall extends Shared {
  readonly kind: "class";
  readonly method: string;
  readonly constructorArgs: ReadonlyArray<unknown>;
  readonly constructorKwargs: Readonly<Record<string, unknown>>;
  readonly instanceId: string | undefined;
  /** Whether to create a new instance even if one with this id exists. */
  readonly createNewInstance: boolean;
}

/** A decoded request, with all defaults. */
export type FunctionRequest = FunctionCall | ClassCall;

const decodeFields = Schema.decodeUnknownEffect(Fields, { errors: "all" });
const issuesOf = SchemaIssue.makeFormatterStandardSchemaV1();

const pathOf = (path: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }>): string =>
  path
    .map((part) => (typeof part === "object" ? part.key : part))
    .map((key, index) =>
      typeof key === "number" ? `[${key}]` : `${index === 0 ? "" : "."}${String(key)}`,
    )
    .join("");

/** The maximum number of invalid fields that are named; the others are counted. */
const MAX_NAMED_ISSUES = 10;

/** Names all invalid fields in one error; `field` is the first one. */
const invalid = (error: Schema.SchemaError): RequestInvalid => {
  const { issues } = issuesOf(error.issue);
  const [first, ...others] = issues.slice(0, MAX_NAMED_ISSUES).map((issue) => ({
    field: pathOf(issue.path ?? []),
    expected: issue.message.replace(/^Expected /, "expected "),
  }));
  const unnamed = issues.length - MAX_NAMED_ISSUES;
  return new RequestInvalid({
    field: first?.field ?? "",
    expected: [
      first?.expected ?? "it can't be decoded",
      ...others.map(({ field, expected }) => `"${field}": ${expected}`),
      ...(unnamed > 0 ? [`and ${unnamed} more`] : []),
    ].join("; "),
  });
};

/**
 * The known fields; unknown ones are not read. Clients omit fields that are None, or send null: both mean the default.
 */
const knownFields = (input: object): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    Object.keys(Fields.fields).flatMap((name) => {
      const value: unknown = Object.hasOwn(input, name) ? Reflect.get(input, name) : null;
      return value === null ? [] : [[name, value]];
    }),
  );

/** The maximum number of entries of a list or an object: decoding one takes about 20 ms. */
const MAX_ENTRIES = {
  args: 4000,
  kwargs: 4000,
  constructor_args: 4000,
  constructor_kwargs: 4000,
  dependencies: 1000,
  system_dependencies: 1000,
  modules: 2000,
} as const;

/** The maximum length of a name. */
const MAX_NAME = 256;
const NAMES = ["function_name", "class_name", "method_name", "instance_id"] as const;

/** The maximum length of a path on Linux. */
const MAX_PATH = 4096;

const tooLong = (field: string, length: number, limit: number) =>
  new RequestInvalid({
    field,
    expected: `has ${length.toLocaleString("en")} characters; the limit is ${limit.toLocaleString("en")}`,
  });

/** Checks lengths and counts before anything is decoded; returns the first limit that is exceeded. */
const exceededLimit = (fields: Readonly<Record<string, unknown>>): RequestInvalid | undefined => {
  for (const name of NAMES) {
    const value = fields[name];
    if (typeof value === "string" && value.length > MAX_NAME) {
      return tooLong(name, value.length, MAX_NAME);
    }
  }
  for (const [name, limit] of Object.entries(MAX_ENTRIES)) {
    const value = fields[name];
    if (!Predicate.isObjectOrArray(value)) continue;
    const keys = Array.isArray(value) ? undefined : Object.keys(value);
    const count = Array.isArray(value) ? value.length : (keys?.length ?? 0);
    if (count > limit) {
      return new RequestInvalid({
        field: name,
        expected: `has ${count.toLocaleString("en")} entries; the limit is ${limit.toLocaleString("en")}. Send large data as one argument, such as a list or a dict`,
      });
    }
    const longest = name === "modules" ? MAX_PATH : MAX_NAME;
    const long = keys?.find((key) => key.length > longest);
    if (long !== undefined) return tooLong(`${name}.${long.slice(0, 20)}…`, long.length, longest);
  }
  return undefined;
};

/** For requests that do not look like live requests. */
const DEPLOYED =
  "Jobs of deployed apps (`flash deploy`, `rp flash deploy`) have no source code: a worker runs them if FLASH_RESOURCE_NAME and RUNPOD_ENDPOINT_ID are set, as a deployment sets them, or with `worker-tetra serve --app`";

const nameAndCode = (
  fields: Fields,
  nameField: "function_name" | "class_name",
  codeField: "function_code" | "class_code",
): Effect.Effect<{ readonly name: string; readonly code: string }, RequestInvalid> => {
  const name = fields[nameField];
  const code = fields[codeField];
  if (name === undefined || name === "") {
    return Effect.fail(
      new RequestInvalid({
        field: nameField,
        expected: `is required when execution_type is "${fields.execution_type}"${code === undefined ? `. ${DEPLOYED}` : ""}`,
      }),
    );
  }
  if (code === undefined) {
    return Effect.fail(
      new RequestInvalid({
        field: codeField,
        expected: `the source code is required for a live request. ${DEPLOYED}`,
      }),
    );
  }
  return Effect.succeed({ name, code });
};

/**
 * Decodes the `input` of a job. Unknown fields are ignored, null means absent, and an error names the paths of invalid
 * values.
 */
export const decode = Effect.fnUntraced(function* (
  input: unknown,
): Effect.fn.Return<FunctionRequest, RequestInvalid> {
  if (!Predicate.isObject(input)) {
    return yield* new RequestInvalid({
      field: "",
      expected:
        "expected an object with function_name and function_code, or class_name and class_code",
    });
  }
  const known = knownFields(input);
  const exceeded = exceededLimit(known);
  if (exceeded !== undefined) return yield* exceeded;
  const fields = yield* Effect.mapError(decodeFields(known), invalid);
  const shared = {
    args: fields.args,
    kwargs: fields.kwargs,
    dependencies: fields.dependencies,
    systemDependencies: fields.system_dependencies,
    accelerateDownloads: fields.accelerate_downloads,
    format: fields.serialization_format,
    modules: fields.modules,
  };
  if (fields.execution_type === "function") {
    return {
      kind: "function",
      ...shared,
      ...(yield* nameAndCode(fields, "function_name", "function_code")),
    };
  }
  return {
    kind: "class",
    ...shared,
    ...(yield* nameAndCode(fields, "class_name", "class_code")),
    method: fields.method_name,
    constructorArgs: fields.constructor_args,
    constructorKwargs: fields.constructor_kwargs,
    instanceId: fields.instance_id,
    createNewInstance: fields.create_new_instance,
  };
});
