import { Schema } from "effect";

const MAX_LENGTH = 1024;

/** A path below a folder: jobs can write the files that contain it, so it must not lead elsewhere. */
export const RelativePath = Schema.String.pipe(
  Schema.check(
    Schema.isMaxLength(MAX_LENGTH),
    Schema.makeFilter((path: string) => !path.startsWith("/") && !path.split("/").includes("..")),
  ),
);
