import { codeOf } from "../../platform/ErrorCode.ts";

/** The reader has closed the pipe, as `| head -1` does. */
const isReaderGone = (error: Error): boolean =>
  ["EPIPE", "ERR_STREAM_DESTROYED"].includes(codeOf(error));

const drained = (stream: NodeJS.WriteStream) =>
  new Promise<void>((resolve) => {
    // Node reports a write that failed immediately, such as to a full disk, one tick later.
    if (stream.writableLength === 0) setImmediate(resolve);
    // The callback of an empty write runs once all earlier writes have succeeded or failed.
    else stream.write("", () => resolve());
  });

/**
 * Watches the standard streams of this process. Node writes to pipes in the background, and `process.exit` drops
 * pending writes.
 */
export const standardStreams = () => {
  let failure: string | undefined;
  for (const [name, stream] of [
    ["stdout", process.stdout],
    ["stderr", process.stderr],
  ] as const) {
    // Without a listener, an error of these streams ends the process with a stack trace.
    stream.on("error", (error: Error) => {
      if (!isReaderGone(error)) failure ??= `Could not write to ${name}: ${error.message}`;
    });
  }
  return {
    /** Resolves after all output was written or has failed, with the error message if any. Waits for slow readers. */
    flush: async (): Promise<string | undefined> => {
      await drained(process.stdout);
      if (failure !== undefined) process.stderr.write(`${failure}. The output is incomplete.\n`);
      await drained(process.stderr);
      return failure;
    },
  };
};
