import { Cause, Console, Effect, Layer, Logger, References } from "effect";

import { Environment } from "../../settings/Environment.ts";
import * as Setting from "../../settings/Setting.ts";
import { visibleLines, visibleLine } from "../results/TerminalText.ts";

const LOG_LEVEL = Setting.choice({
  name: "LOG_LEVEL",
  doc: "Minimum log level of the worker's own messages. `--log-level` takes precedence.",
  choices: ["all", "trace", "debug", "info", "warn", "warning", "error", "fatal", "none"],
  alternativeName: "RUNPOD_LOG_LEVEL",
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

const text = (part: unknown): string =>
  typeof part === "string" ? part : part instanceof Error ? String(part) : JSON.stringify(part);

type Mask = Environment["Service"]["mask"];

/** The message and stack trace with secrets masked, and the job's id. */
const partsOf = ({ message, cause, fiber }: Logger.Options<unknown>, mask: Mask) => {
  const parts = (Array.isArray(message) ? message : [message]).map(text);
  if (cause.reasons.length > 0) parts.push(Cause.pretty(cause));
  const { requestId } = fiber.getRef(References.CurrentLogAnnotations);
  return {
    message: mask(parts.join(" ")),
    requestId: typeof requestId === "string" ? mask(requestId) : null,
  };
};

/** One line of JSON with the keys that RunPod's console reads. */
const platformLogger = (mask: Mask) =>
  Logger.make((options) => {
    const { message, requestId } = partsOf(options, mask);
    const level = options.logLevel.toUpperCase();
    process.stderr.write(`${JSON.stringify({ requestId, message, level })}\n`);
  });

/** One readable line: time, level, message, and the job's id. */
const lineLogger = (mask: Mask) =>
  Logger.make((options) => {
    const { message, requestId } = partsOf(options, mask);
    // The wall clock; the time of log events follows the monotonic clock.
    const time = new Date().toTimeString().slice(0, 8);
    const level = options.logLevel === "Info" ? "" : `${options.logLevel.toUpperCase()}: `;
    const about = requestId === null ? "" : ` [${visibleLine(requestId)}]`;
    process.stderr.write(`${time} ${level}${visibleLines(message)}${about}\n`);
  });

/** Masks secrets in what commands print on stderr. Responses go to stdout, and their results are not masked. */
const maskedConsole = Layer.effect(
  Console.Console,
  Effect.gen(function* () {
    const { mask } = yield* Environment;
    const console = yield* Console.Console;
    const error: Console.Console["error"] = (...args: ReadonlyArray<unknown>) =>
      console.error(...args.map((arg) => (typeof arg === "string" ? mask(arg) : arg)));
    return { ...console, error };
  }),
);

/** Logs the worker's own messages to stderr. Stdout is for responses and the output of jobs. */
export const Logging = Layer.mergeAll(
  Layer.unwrap(
    Effect.map(Environment, ({ has, mask }) =>
      Logger.layer([(has("RUNPOD_ENDPOINT_ID") ? platformLogger : lineLogger)(mask)]),
    ),
  ),
  maskedConsole,
  Layer.succeed(Logger.LogToStderr, true),
  Layer.effect(
    References.MinimumLogLevel,
    Effect.map(LOG_LEVEL.value, (level) => LEVELS[level]),
  ),
);
