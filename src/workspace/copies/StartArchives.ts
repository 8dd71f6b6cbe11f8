import { Duration, Effect, Struct } from "effect";

import { VolumeProcess } from "../../platform/volume/VolumeProcess.ts";
import type { Venv } from "../../venv/Venv.ts";
import { StartProfile } from "../profile/StartProfile.ts";
import { archiveFolder, type SharedVenv } from "./PackageArchives.ts";
import { type Archives, StartArchive, startContent } from "./PackageList.ts";

/** Maximum time without progress of work that nobody waits for. */
export const DEADLINE = Duration.minutes(2);

/** The folder of a venv, and how its interpreter names its bytecode. */
export const argsFor = ({ prefix, version }: Venv) => ({
  prefix,
  tag: `cpython-${version.split(".", 2).join("")}`,
});

const Packed = StartArchive.mapFields(Struct.omit(["key"]));

/** The start archives of virtual environments, which have what the jobs of an endpoint import. */
export const startArchives = Effect.gen(function* () {
  const volume = yield* VolumeProcess;
  const profile = yield* StartProfile;

  const contentFor = ({ place }: SharedVenv, archives: Archives) =>
    Effect.map(profile.read(place.directory), ({ folders }) => startContent(archives, folders));

  return {
    /** Whether the start archive has what jobs have imported by now. */
    isCurrent: (source: SharedVenv, archives: Archives) =>
      Effect.map(
        contentFor(source, archives),
        (content) => content === undefined || content.key === archives.start?.key,
      ),
    /** The archives with a start archive that has what jobs have imported by now. */
    update: Effect.fn("StartArchives.update")(function* (source: SharedVenv, archives: Archives) {
      const content = yield* contentFor(source, archives);
      if (content === undefined || content.key === archives.start?.key) return archives;
      const { key, folders } = content;
      const packed = yield* volume.request(
        "archives.pack_start",
        {
          ...argsFor(source.venv),
          folders,
          links: archives.links,
          store: archiveFolder(source),
        },
        Packed,
        { deadline: DEADLINE },
      );
      return { ...archives, start: { ...packed, key } };
    }),
  };
});
