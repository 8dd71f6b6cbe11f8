import { execFile } from "node:child_process";

import { Effect } from "effect";

import { realEnvironment } from "./RealWorker.ts";

/** A program to its end; what it wrote to stdout. It fails the test with all that it wrote. */
export const program = (
  command: string,
  args: ReadonlyArray<string>,
  options: {
    readonly directory?: string;
    readonly variables?: Readonly<Record<string, string>>;
  } = {},
) =>
  Effect.callback<string>((resume) => {
    const child = execFile(
      command,
      args,
      {
        cwd: options.directory,
        env: realEnvironment(options.variables),
        maxBuffer: 64 * 1024 * 1024,
      },
      (error, stdout, stderr) => {
        resume(
          error === null
            ? Effect.succeed(stdout)
            : Effect.die(new Error(`${command} ${args.join(" ")}\n${stdout}\n${stderr}`)),
        );
      },
    );
    return Effect.sync(() => child.kill("SIGKILL"));
  });
