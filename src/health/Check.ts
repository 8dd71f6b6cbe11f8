import { Duration, Effect, Struct } from "effect";

import { SettingInvalid } from "../settings/Setting.ts";
import type { Unfit } from "./Unfit.ts";

/** `missing`: a worker can't do its work like this. `warning`: it can, but worse than it could. */
type State = "ok" | "warning" | "missing";

/** The result of a check, for people. */
export interface Finding {
  readonly subject: string;
  readonly state: State;
  readonly detail: string;
  /** What to do about it. */
  readonly advice?: string;
}

/** The result of a check. */
export interface Outcome extends Omit<Finding, "subject"> {
  /** Why `start` refuses to run; by default the detail. */
  readonly reason?: string;
}

/** Finds out whether this machine has something that a worker needs or could use. */
export interface Check<R> {
  /** Makes the check for a person. */
  readonly look: Effect.Effect<Finding, never, R>;
  /** Whether it is worth a line when all is well. */
  readonly showsOk: boolean;
}

/** A check of something without which `start` refuses to run. */
export interface RequiredCheck<R, Q> extends Check<R> {
  /** The name of the check in the report to RunPod. */
  readonly refusal: Unfit["check"];
  /** Makes the check as closely as `start` needs, since it delays the first job. */
  readonly quickLook: Effect.Effect<Outcome, never, Q>;
}

/** A check that takes longer fails: something hangs, such as the driver of a GPU. */
const TIME_LIMIT = Duration.seconds(10);

/** Limits the time of a check; `what` is what `start` calls it. */
export const inTime =
  (what: string, state: State, limit = TIME_LIMIT) =>
  <E, R>(look: Effect.Effect<Outcome, E, R>): Effect.Effect<Outcome, E, R> =>
    Effect.timeoutOrElse(look, {
      duration: limit,
      orElse: () =>
        Effect.succeed<Outcome>({
          state,
          detail: `the check took more than ${Duration.format(limit)}`,
          reason: `the check of ${what} took more than ${Duration.toSeconds(limit)} seconds`,
        }),
    });

interface Failure {
  readonly message: string;
}

type Look<R> = Effect.Effect<Outcome, Failure, R>;

/** The finding of a failed check. */
export const missing = (subject: string, { message }: Failure): Finding => ({
  subject,
  state: "missing",
  detail: message,
});

/** A setting that can't be used is a finding of its own. */
const findingOf = <R>(subject: string, look: Look<R>): Effect.Effect<Finding, never, R> =>
  Effect.match(look, {
    onSuccess: (outcome) => ({ subject, ...Struct.omit(outcome, ["reason"]) }),
    onFailure: (error) => missing(error instanceof SettingInvalid ? error.setting : subject, error),
  });

/** A check that only `doctor` makes. If `look` fails, the subject is missing. */
export const check = <R>(subject: string, look: Look<R>): Check<R> => ({
  look: findingOf(subject, look),
  showsOk: true,
});

const quick = <R>(look: Look<R>): Effect.Effect<Outcome, never, R> =>
  Effect.catch(look, ({ message }) =>
    Effect.succeed<Outcome>({ state: "missing", detail: message }),
  );

/** A check that `start` makes too. If `look` fails, the subject is missing. */
export const required = <R>({
  subject,
  refusal,
  look,
  showsOk = true,
}: {
  readonly subject: string;
  readonly refusal: Unfit["check"];
  readonly look: Look<R>;
  readonly showsOk?: boolean;
}): RequiredCheck<R, R> => ({
  look: findingOf(subject, look),
  showsOk,
  refusal,
  quickLook: quick(look),
});

/** The same check with less to do for `start`. */
export const withQuickLook = <R, Q>(
  check: RequiredCheck<R, R>,
  look: Look<Q>,
): RequiredCheck<R, Q> => ({ ...check, quickLook: quick(look) });
