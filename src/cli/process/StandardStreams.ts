import { codeOf } from "../../platform/ErrorCode.ts";

/** The reader closed the pipe, as `| head -1` does, and does not need the rest. */
const isReaderGone = (error: Error): boolean =>
  ["EPIPE", "ERR_STREAM_DESTROYED"].includes(codeOf(error));

const drained = (stream: NodeJS.WriteStream) =>
  new Promise<void>((resolve) => {
    // Node reports a write that failed at once, such as to a full disk, only a little later.
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
      if (!isReaderGone(error)) failure ??= `${name} could not be written: ${error.message}`;
    });
  }
  return {
    /** Resolves when all output was written or failed, with the error message if any. Waits for slow readers. */
    flush: async (): Promise<string | undefined> => {
      await drained(process.stdout);
      if (failure !== undefined) process.stderr.write(`${failure}. The output is incomplete.\n`);
      await drained(process.stderr);
      return failure;
    },
  };
};
