import { Logger, type LogLevel } from "effect";

/** Keeps what is logged, in place of writing it. */
export const keptLogs = () => {
  const kept: Array<readonly [LogLevel.LogLevel, string]> = [];
  const logger = Logger.make(({ logLevel, message }) => {
    kept.push([logLevel, (Array.isArray(message) ? message : [message]).map(String).join(" ")]);
  });
  const at = (level: LogLevel.LogLevel): ReadonlyArray<string> =>
    kept.filter(([of]) => of === level).map(([, text]) => text);
  return {
    layer: Logger.layer([logger]),
    errors: () => at("Error"),
    warnings: () => at("Warn"),
    notices: () => at("Info"),
  };
};
