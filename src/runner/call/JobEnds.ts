import type { JobEnd } from "../../domain/JobEvents.ts";
import type { CallFailed, CallOutcome } from "./Call.ts";

/** Matches error messages of CUDA and its libraries. */
const CUDA_FAILURE = /\bcuda|cublas|cudnn|cufft|cusolver|cusparse|\bnccl\b|\bnvml\b/i;

/** The part of a crashed process's last output in which such messages are searched. */
const SEARCHED_CHARACTERS = 2000;

/** What an exception of the user's code indicates about the machine. */
export const endOfException = (type: string, message: string): JobEnd =>
  CUDA_FAILURE.test(`${type} ${message}`) ? "cuda" : "ran";

/** What a completed call indicates about the machine. */
export const endOf = ({ error, poisoned }: CallOutcome["result"]): JobEnd => {
  if (poisoned !== null) return "cuda";
  return error === null ? "ran" : endOfException(error.type, error.message);
};

/** What a failed call indicates about the machine. */
export const endOfFailure = (error: CallFailed): JobEnd => {
  if (error._tag === "RunnerCrashed") {
    return CUDA_FAILURE.test(error.output.slice(-SEARCHED_CHARACTERS)) ? "cuda" : "ran";
  }
  if (error._tag === "CallTimedOut") return "ran";
  if (error._tag === "PreloadFailed") return "launch";
  if (error._tag !== "RunnerUnavailable") return "workspace";
  return error.hasStarted === true ? "ran" : "launch";
};
