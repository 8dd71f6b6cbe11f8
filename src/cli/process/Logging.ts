import { Cause, Console, Effect, Layer, Logger, References } from "effect";

import { Environment } from "../../settings/Environment.ts";
import * as Setting from "../../settings/Setting.ts";
import { visibleLines, visibleWord } from "../results/TerminalText.ts";

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

const text = (part: unknown): string =>
  typeof part === "string" ? part : part instanceof Error ? String(part) : JSON.stringify(part);

type Mask = Environment["Service"]["mask"];

/** The message and the stack trace with secrets masked, and the id of the job. */
const partsOf = ({ message, cause, fiber }: Logger.Options<unknown>, mask: Mask) => {
  const parts = (Array.isArray(message) ? message : [message]).map(text);
  if (cause.reasons.length > 0) parts.push(Cause.pretty(cause));
  const { requestId } = fiber.getRef(References.CurrentLogAnnotations);
  return {
    message: mask(parts.join(" ")),
    requestId: typeof requestId === "string" ? mask(requestId) : null,
  };
};

/** A line of JSON with the keys that RunPod's console reads. */
const platformLogger = (mask: Mask) =>
  Logger.make((options) => {
    const { message, requestId } = partsOf(options, mask);
    const level = options.logLevel.toUpperCase();
    process.stderr.write(`${JSON.stringify({ requestId, message, level })}\n`);
  });

/** A line for people: when, how bad, what, and about which job. */
const lineLogger = (mask: Mask) =>
  Logger.make((options) => {
    const { message, requestId } = partsOf(options, mask);
    // The wall clock's time: that of the event follows the monotonic clock.
    const time = new Date().toTimeString().slice(0, 8);
    const level = options.logLevel === "Info" ? "" : `${options.logLevel.toUpperCase()}: `;
    const about = requestId === null ? "" : ` [${visibleWord(requestId)}]`;
    process.stderr.write(`${time} ${level}${visibleLines(message)}${about}\n`);
  });

/** Masks secrets in what commands write to stderr. Answers go to stdout, and their results are not masked. */
const maskedConsole = Layer.effect(
  Console.Console,
  Effect.gen(function* () {
    const { mask } = yield* Environment;
    const console = yield* Console.Console;
    const error: Console.Console["error"] = (...words: ReadonlyArray<unknown>) =>
      console.error(...words.map((word) => (typeof word === "string" ? mask(word) : word)));
    return { ...console, error };
  }),
);

/** The worker's own messages, for people, on stderr: stdout belongs to answers and to what jobs print. */
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
