import { Schema } from "effect";

import { AppPhase } from "../RunnerProtocol.ts";

/** The code of an app can't be imported, or its objects can't be constructed. */
export class AppOpenFailed extends Schema.TaggedError<AppOpenFailed>()("AppOpenFailed", {
  phase: AppPhase,
  /** The name of the exception's type, and its text. */
  type: Schema.String,
  message: Schema.String,
  traceback: Schema.String,
  /** The top-level name of a module that is not installed. */
  missingModule: Schema.UndefinedOr(Schema.String),
  /** System packages that the app needs, as far as they are known. */
  systemDependencies: Schema.Array(Schema.String),
}) {}
