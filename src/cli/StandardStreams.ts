/** The reader went away, as `| head -1` does: nobody is left who misses the rest. */
const isReaderGone = (error: Error): boolean =>
  "code" in error && (error.code === "EPIPE" || error.code === "ERR_STREAM_DESTROYED");

const drained = (stream: NodeJS.WriteStream) =>
  new Promise<void>((resolve) => {
    // Node tells of a write that failed at once, such as to a full disk, only a little later.
    if (stream.writableLength === 0) setImmediate(resolve);
    // An empty write is called back once everything before it was written, or can't be any more.
    else stream.write("", () => resolve());
  });

/**
 * Watches the standard streams of this process. Node writes to pipes in the background, and `process.exit` drops
 * what was not written by then.
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
    /** Resolves once every write has reached its reader, with what was lost. It waits as long as the reader lives. */
    flush: async (): Promise<string | undefined> => {
      await drained(process.stdout);
      if (failure !== undefined) process.stderr.write(`${failure}. The output is incomplete.\n`);
      await drained(process.stderr);
      return failure;
    },
  };
};
