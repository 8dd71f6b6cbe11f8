import { Effect, Option } from "effect";

import { type AppStartFailed, startFailed } from "../AppStartFailed.ts";
import type { App } from "./App.ts";

/** The part of a version that decides whether compiled packages can be imported, such as `3.11` of `3.11.9`. */
const minorOf = (version: string): string | undefined => /^\s*(\d+\.\d+)/.exec(version)?.[1];

/** Fails if the app's packages were built for another version of Python than `version`, such as `3.12.1`. */
export const assertPythonVersion = (
  { pythonVersion }: Pick<App, "pythonVersion">,
  version: string,
): Effect.Effect<void, AppStartFailed> => {
  const target = Option.getOrUndefined(Option.map(pythonVersion, minorOf));
  const actual = minorOf(version);
  if (target === undefined || target === actual) return Effect.void;
  return startFailed(
    "verify",
    `The app was built for Python ${target}, but this worker has ${actual ?? version}, which cannot import its compiled packages`,
    `Use an image of this worker with Python ${target}, or deploy with --python-version ${actual ?? version}.`,
  );
};
