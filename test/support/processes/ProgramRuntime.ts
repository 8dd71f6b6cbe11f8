import { Effect, Logger } from "effect";

/** Logs to stderr, because stdout contains only the program's result. */
export const stderrLogger = Logger.layer([
  Logger.make(({ logLevel, message }) => {
    process.stderr.write(`${logLevel}: ${[message].flat().join(" ")}\n`);
  }),
]);

/** Waits until the parent process closes stdin or ends. */
export const untilStdinEnds = Effect.callback<void>((resume) => {
  process.stdin.resume().once("end", () => resume(Effect.void));
});
