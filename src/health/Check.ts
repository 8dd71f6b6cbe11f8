import { Duration, Effect, Struct } from "effect";

import { SettingInvalid } from "../settings/Setting.ts";
import type { Unfit } from "./Unfit.ts";

/** `missing`: a worker can't run jobs. `warning`: it can, but jobs may be slow or fail. */
type State = "ok" | "warning" | "missing";

/** The result of a check as `doctor` displays it. */
export interface Finding {
  readonly subject: string;
  readonly state: State;
  readonly detail: string;
  /** How to fix it. */
  readonly advice?: string;
}

/** The result of a check, without its subject. */
export interface Outcome extends Omit<Finding, "subject"> {
  /** Why `start` refuses to run; by default the detail. */
  readonly reason?: string;
}

/** Checks whether this machine has something that a worker requires or can use. */
export interface Check<R> {
  /** Runs the check for `doctor`. */
  readonly run: Effect.Effect<Finding, never, R>;
  /** Whether `doctor` also displays a successful check. */
  readonly showsOk: boolean;
}

/** A check of something without which `start` refuses to run. */
export interface RequiredCheck<R, Q> extends Check<R> {
  /** The name of the check in the report to RunPod. */
  readonly reportedAs: Unfit["check"];
  /** Runs the check for `start`: only what is necessary, since it delays the first job. */
  readonly quickProbe: Effect.Effect<Outcome, never, Q>;
}

/** A check that takes longer fails: a program hangs, or the driver of a GPU. */
const CHECK_TIMEOUT = Duration.seconds(10);

/** Fails a check that takes too long; `name` is its name in the reason that `start` reports. */
export const withTimeout =
  (name: string, state: State, timeout = CHECK_TIMEOUT) =>
  <E, R>(probe: Effect.Effect<Outcome, E, R>): Effect.Effect<Outcome, E, R> =>
    Effect.timeoutOrElse(probe, {
      duration: timeout,
      orElse: () =>
        Effect.succeed<Outcome>({
          state,
          detail: `the check took more than ${Duration.format(timeout)}`,
          reason: `the ${name} check took more than ${Duration.toSeconds(timeout)} seconds`,
        }),
    });

interface Failure {
  readonly message: string;
}

type Probe<R> = Effect.Effect<Outcome, Failure, R>;

/** The finding of a failed check. */
export const missing = (subject: string, { message }: Failure): Finding => ({
  subject,
  state: "missing",
  detail: message,
});

/** The finding of a probe. For an invalid setting the subject is the setting. */
const findingOf = <R>(subject: string, probe: Probe<R>): Effect.Effect<Finding, never, R> =>
  Effect.match(probe, {
    onSuccess: (outcome) => ({ subject, ...Struct.omit(outcome, ["reason"]) }),
    onFailure: (error) => missing(error instanceof SettingInvalid ? error.setting : subject, error),
  });

/** A check that only `doctor` runs. If the probe fails, the subject is missing. */
export const check = <R>(subject: string, probe: Probe<R>): Check<R> => ({
  run: findingOf(subject, probe),
  showsOk: true,
});

const quick = <R>(probe: Probe<R>): Effect.Effect<Outcome, never, R> =>
  Effect.catch(probe, ({ message }) =>
    Effect.succeed<Outcome>({ state: "missing", detail: message }),
  );

/** A check that `start` runs too. If the probe fails, the subject is missing. */
export const required = <R>({
  subject,
  reportedAs,
  probe,
  showsOk = true,
}: {
  readonly subject: string;
  readonly reportedAs: Unfit["check"];
  readonly probe: Probe<R>;
  readonly showsOk?: boolean;
}): RequiredCheck<R, R> => ({
  run: findingOf(subject, probe),
  showsOk,
  reportedAs,
  quickProbe: quick(probe),
});

/** The same check with a faster probe for `start`. */
export const withQuickProbe = <R, Q>(
  check: RequiredCheck<R, R>,
  probe: Probe<Q>,
): RequiredCheck<R, Q> => ({ ...check, quickProbe: quick(probe) });
