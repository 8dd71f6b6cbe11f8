import { Logger, type LogLevel, References } from "effect";

import { makeCondition } from "../effects/Condition.ts";

/** Keeps what is logged, in place of writing it. */
export const keptLogs = () => {
  const kept: Array<readonly [LogLevel.LogLevel, string]> = [];
  const jobs = new Set<unknown>();
  const { notify, until } = makeCondition();
  const logger = Logger.make(({ fiber, logLevel, message }) => {
    jobs.add(fiber.getRef(References.CurrentLogAnnotations)["requestId"]);
    kept.push([logLevel, (Array.isArray(message) ? message : [message]).map(String).join(" ")]);
    notify();
  });
  const at = (level: LogLevel.LogLevel): ReadonlyArray<string> =>
    kept.filter(([of]) => of === level).map(([, text]) => text);
  return {
    layer: Logger.layer([logger]),
    errors: () => at("Error"),
    warnings: () => at("Warn"),
    notices: () => at("Info"),
    /** Waits for a condition of what was logged. */
    until,
    /** The ids of the jobs that lines are about; undefined for lines about none. */
    jobs: () => [...jobs],
  };
};
