import { Schema } from "effect";

/** One small change of a module's code. */
export interface Mutant {
  readonly module: string;
  /** The line as it stands in the module, without its indentation. */
  readonly line: string;
  /** What was done to it. */
  readonly change: string;
  /** Whether a test failed, or did not end, because of it. */
  readonly isKilled: boolean;
}

/** Survivors that are expected, by module, line and change. */
export const Accepted = Schema.Array(
  Schema.Struct({
    module: Schema.String,
    line: Schema.String,
    change: Schema.String,
    /** Why no test can or should notice it. */
    reason: Schema.NonEmptyString,
  }),
);
