import { Effect } from "effect";

import { Environment } from "./Environment.ts";
import { excerpt } from "./Excerpt.ts";

/** The maximum length of an error with its traceback. Python sends less. */
const MAX_ERROR_CHARACTERS = 128 * 1024;

/** A function for errors in responses: it masks secrets, and shortens long errors. */
export const errorFormat = Effect.map(
  Environment,
  ({ mask }) =>
    (error: string): string =>
      excerpt(mask(error), MAX_ERROR_CHARACTERS).toWellFormed(),
);

/** The error of a job that failed because of a bug of the worker. */
export const internalError = (defect: unknown): string =>
  `Internal error of the worker, not of your code: ${String(defect)}. See the worker's log for details.`;

/** An error with the traceback that belongs to it, if there is one. */
export const withTraceback = (message: string, traceback: string): string =>
  traceback === "" ? message : `${message}\n\n${traceback}`;
