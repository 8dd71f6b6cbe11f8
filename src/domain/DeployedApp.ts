import { Schema } from "effect";

/** The SDK that built a deployed app: Flash, or the `runpod` package 2.0. */
export const AppClient = Schema.Literals(["flash", "sdk"]);
export type AppClient = typeof AppClient.Type;

/** A function or class of the app's source. */
const AppTarget = Schema.Struct({
  module: Schema.String,
  /** The name in the module; Flash and SDK 2.0 only deploy names at the top level. */
  name: Schema.String,
  /** Public methods of a class that jobs may call; empty for functions. */
  methods: Schema.Array(Schema.String),
});

/** One resource of a deployed app: what the Python process needs to open it. */
export const AppResource = Schema.Struct({
  client: AppClient,
  /** The name of the resource, as in FLASH_RESOURCE_NAME. */
  name: Schema.String,
  /** `queue` for jobs, `api` for HTTP requests from the load balancer. */
  kind: Schema.Literals(["queue", "api"]),
  /** What jobs call. Empty if only a generated handler file is known. */
  targets: Schema.Array(AppTarget),
  /** The generated handler file of Flash, relative to the app folder; null for SDK 2.0. */
  handlerFile: Schema.NullOr(Schema.String),
});
export type AppResource = typeof AppResource.Type;
