import { Effect, Layer, Logger, References } from "effect";

import * as Setting from "../settings/Setting.ts";

const LOG_LEVEL = Setting.choice({
  name: "LOG_LEVEL",
  doc: "The least severe of the worker's own messages that is logged; --log-level wins over it.",
  choices: ["all", "trace", "debug", "info", "warn", "warning", "error", "fatal", "none"],
  elseName: "RUNPOD_LOG_LEVEL",
  fallback: "info",
});

const LEVELS = {
  all: "All",
  trace: "Trace",
  debug: "Debug",
  info: "Info",
  warn: "Warn",
  warning: "Warn",
  error: "Error",
  fatal: "Fatal",
  none: "None",
} as const;

/** The worker's own messages, for people, on stderr: stdout belongs to answers and to what jobs print. */
export const Logging = Layer.mergeAll(
  Logger.layer([Logger.consolePretty()]),
  Layer.succeed(Logger.LogToStderr, true),
  Layer.effect(
    References.MinimumLogLevel,
    Effect.map(LOG_LEVEL.value, (level) => LEVELS[level]),
  ),
);
