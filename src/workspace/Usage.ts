import { join } from "node:path";

import { Effect } from "effect";

import { DiskUsage } from "../platform/files/DiskUsage.ts";
import type { Place } from "../venv/Place.ts";
import { COMPILE_CACHES } from "./JobEnvironment.ts";
import { ARCHIVES } from "./copies/PackageArchives.ts";

/** Folders that take up space in the folder of caches, where on a volume the workspaces of all endpoints are too. */
export const CACHES = [
  "runtimes",
  ARCHIVES,
  ".uv-cache",
  ".hf-cache",
  ".torch",
  ...COMPILE_CACHES,
  ".apt-cache",
] as const;

const foldersOf = ({ directory, caches }: Place): ReadonlyArray<string> => [
  join(directory, ".venvs"),
  ...CACHES.map((name) => join(caches, name)),
];

/** Reports the free space of the disks of some places, and sizes of the folders on them, one per line. */
export const usageOf = Effect.map(DiskUsage, (disks) =>
  Effect.fn("Workspace.usage")(function* (places: ReadonlyArray<Place>) {
    const reports = yield* Effect.forEach(
      new Set(places),
      (place) => disks.report(place.directory, foldersOf(place)),
      { concurrency: "unbounded" },
    );
    return reports.join("\n");
  }),
);
