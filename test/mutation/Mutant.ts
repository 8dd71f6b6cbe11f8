import { Schema } from "effect";

/** One small change of a module's code. */
export interface Mutant {
  readonly module: string;
  /** The original line, without its indentation. */
  readonly line: string;
  /** The change of the line. */
  readonly change: string;
  /** Whether a test failed or timed out because of the change. */
  readonly isKilled: boolean;
}

/** Survivors that are expected, by module, line and change. */
export const Accepted = Schema.Array(
  Schema.Struct({
    module: Schema.String,
    line: Schema.String,
    change: Schema.String,
    /** Why no test can or should detect it. */
    reason: Schema.NonEmptyString,
  }),
);
