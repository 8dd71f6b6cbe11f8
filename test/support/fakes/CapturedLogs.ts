import { Logger, type LogLevel, References } from "effect";

import { makeCondition } from "../effects/Condition.ts";

/** Captures log messages instead of writing them. */
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
    /** Waits until a condition of the captured messages is true. */
    until,
    /** The job ids of all messages; undefined stands for messages without one. */
    jobs: () => [...jobs],
  };
};
