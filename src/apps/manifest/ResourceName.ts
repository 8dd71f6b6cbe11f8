import { Effect } from "effect";

import { excerpt } from "../../settings/Excerpt.ts";
import { startFailed } from "../AppStartFailed.ts";

/** In characters: how much of an invalid name is shown. */
const MAX_SHOWN = 100;

/** The name is part of the name of a file, and comes from the environment. */
export const assertResourceName = (name: string) =>
  /^\.{0,2}$|[/\\]|\p{Cc}/u.test(name)
    ? startFailed(
        "locate",
        `${JSON.stringify(excerpt(name, MAX_SHOWN))} is not the name of a resource`,
        "Correct FLASH_RESOURCE_NAME or RUNPOD_RESOURCE_NAME, or deploy the app again.",
      )
    : Effect.void;

/** The manifest does not contain the resource. */
export const unknownResource = (name: string, manifest: string, known: ReadonlyArray<string>) =>
  startFailed(
    "locate",
    `The app has no resource ${JSON.stringify(name)}: ${manifest} contains ${known.length === 0 ? "none" : known.toSorted().join(", ")}`,
    "Deploy the app again, or correct FLASH_RESOURCE_NAME.",
  );
