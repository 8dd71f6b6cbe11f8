import { Schema } from "effect";

import { withoutControls } from "../../../platform/ControlCharacters.ts";
import { excerpt } from "../../../settings/Excerpt.ts";

/** The archive is damaged or incomplete. It may still be being copied. */
export class ArchiveBroken extends Schema.TaggedError<ArchiveBroken>()("ArchiveBroken", {
  /** Continues "The archive …". */
  reason: Schema.String,
}) {}

/** The archive is intact, but must not be unpacked. */
export class ArchiveRefused extends Schema.TaggedError<ArchiveRefused>()("ArchiveRefused", {
  /** Continues "The archive …". */
  reason: Schema.String,
  /** What to do about it, as a sentence. */
  advice: Schema.String,
}) {}

/** In characters: how much of a name is shown. */
const MAX_SHOWN = 200;

/** A name from an archive, safe to print. */
export const quoted = (name: string): string =>
  withoutControls(JSON.stringify(excerpt(name, MAX_SHOWN)));

/** A refused member, by its name; `problem` continues "…, which". */
export const refusedMember = (
  name: string,
  problem: string,
  advice = "Remove it from the project, or exclude it from the build, and deploy again.",
): ArchiveRefused => new ArchiveRefused({ reason: `contains ${quoted(name)}, ${problem}`, advice });
