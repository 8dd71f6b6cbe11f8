import { Schema } from "effect";

/**
 * The steps of an app's start, as SDK 2.0 names them in its errors: find and unpack the app, compare it with this
 * worker, install system packages, import the user's modules, construct classes and run init hooks.
 */
const StartPhase = Schema.Literals(["locate", "verify", "system", "import", "construct"]);
export type StartPhase = typeof StartPhase.Type;

/** A deployed app can't start. Jobs are answered with this. */
export class AppStartFailed extends Schema.TaggedError<AppStartFailed>()("AppStartFailed", {
  phase: StartPhase,
  /** What failed and why: a sentence without a full stop. */
  reason: Schema.String,
  /** What to do about it, as a sentence. */
  advice: Schema.String,
  /** Of an exception in the user's code, or what its process printed last; empty otherwise. */
  traceback: Schema.String,
  /** What the failure indicates about the machine; absent if no code of the app was run. */
  end: Schema.optionalKey(Schema.Literals(["ran", "cuda", "launch", "workspace"])),
}) {
  override get message(): string {
    return `${this.reason}. ${this.advice}`;
  }
}

/** The text of an error as a part of `reason`. */
export const withoutStop = (sentence: string): string => sentence.replace(/\.$/, "");

/** The advice if the failure may be temporary. */
export const TRY_AGAIN = "The worker tries again after WORKER_APP_RETRY.";

/** A failure outside of the user's code. */
export const startFailed = (phase: StartPhase, reason: string, advice: string): AppStartFailed =>
  new AppStartFailed({ phase, reason, advice, traceback: "" });
