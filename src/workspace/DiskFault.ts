import { type PlatformError, Predicate, Schema } from "effect";

/** What the system says, and what can be done about it. */
const ADVICE: Readonly<Record<string, readonly [reason: string, advice: string]>> = {
  ENOSPC: ["there is no space left", "Free some space, or take a larger disk"],
  EDQUOT: ["the volume's quota is used up", "Remove what is not needed, or enlarge the volume"],
  EROFS: ["it is mounted read-only", "Mount it writable"],
  EACCES: ["access is denied", "Let the worker's user write there"],
  EPERM: ["access is denied", "Let the worker's user write there"],
  EIO: ["the disk failed", "Look at the machine's or the volume's health"],
  ESTALE: ["the network file system lost it", "Mount the volume again"],
};

const codeOf = (error: unknown): string => {
  const cause = Predicate.hasProperty(error, "reason") ? error.reason : error;
  const system = Predicate.hasProperty(cause, "cause") ? cause.cause : cause;
  return Predicate.hasProperty(system, "code") && typeof system.code === "string"
    ? system.code
    : "UNKNOWN";
};

/** A disk does not do what is needed of it. */
export class DiskFault extends Schema.TaggedError<DiskFault>()("DiskFault", {
  path: Schema.String,
  /** The system's name of the fault, such as ENOSPC. */
  code: Schema.String,
  /** What was being done, as in "can't be written". */
  problem: Schema.String,
  detail: Schema.String,
}) {
  override get message(): string {
    const [reason, advice] = ADVICE[this.code] ?? [this.detail, undefined];
    return `${this.path} ${this.problem}: ${reason} (${this.code}).${advice === undefined ? "" : ` ${advice}.`}`;
  }
}

/** Effect's file system tells most of these apart only in the cause of its error. */
export const diskFault =
  (path: string, problem: string) =>
  (error: PlatformError.PlatformError): DiskFault =>
    new DiskFault({ path, problem, code: codeOf(error), detail: error.message });
