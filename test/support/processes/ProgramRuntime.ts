import { Effect, Logger } from "effect";

/** Logs to stderr, so that stdout has the program's answer alone. */
export const stderrLogger = Logger.layer([
  Logger.make(({ logLevel, message }) => {
    process.stderr.write(`${logLevel}: ${[message].flat().join(" ")}\n`);
  }),
]);

/** Waits until the process that started this one closes its stdin, or ends. */
export const untilStdinEnds = Effect.callback<void>((resume) => {
  process.stdin.resume().once("end", () => resume(Effect.void));
});
