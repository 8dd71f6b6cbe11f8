/**
 * Node's event loop waits until a child process has changed its folder and executed the program, which can take minutes
 * on a network volume that hangs. A shell, which is on the local disk, does both after it was started.
 */
const SCRIPT = 'cd -- "$1" && shift && exec "$@"';

/** The command line that starts a program from a local folder by a shell. */
export const shellStart = (
  directory: string,
  command: string,
  args: ReadonlyArray<string>,
): readonly [command: string, args: ReadonlyArray<string>] => [
  "/bin/sh",
  ["-c", SCRIPT, "sh", directory, command, ...args],
];
