import { join } from "node:path";

import { Cache, Context, Effect, FileSystem, Layer, Ref } from "effect";

import { BackgroundWork } from "../../platform/BackgroundWork.ts";
import { replaceFile } from "../../platform/files/AtomicFile.ts";
import { safeFileSystem } from "../../platform/files/SafeFileSystem.ts";
import { readSmallFile } from "../../platform/files/SmallFile.ts";
import { decodeProfile, EMPTY_PROFILE, merged, type Profile } from "./Profile.ts";

/** A file in a workspace. */
export const START_PROFILE = ".start-profile.json";

/** Profiles are kept for the workspace on the volume and for the one on the container's disk. */
const MAX_WORKSPACES = 2;

/** What jobs of an endpoint import, for the next workers of the endpoint. */
export class StartProfile extends Context.Service<
  StartProfile,
  {
    /** The profile of a workspace folder; empty if there is none. The file is read once. */
    readonly read: (directory: string) => Effect.Effect<Profile>;
    /** Changes the profile of a workspace folder, and writes it when no job is running. */
    readonly update: (
      directory: string,
      change: (profile: Profile) => Profile,
    ) => Effect.Effect<void>;
  }
>()("worker-tetra/workspace/StartProfile") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem;
      const background = yield* BackgroundWork;

      const load = (directory: string) =>
        readSmallFile(files, join(directory, START_PROFILE)).pipe(
          Effect.map(decodeProfile),
          Effect.orElseSucceed(() => EMPTY_PROFILE),
        );
      const profiles = yield* Cache.make({
        capacity: MAX_WORKSPACES,
        lookup: (directory: string) => Effect.flatMap(load(directory), Ref.make),
      });

      /** Other workers of the endpoint may have changed the file. */
      const save = Effect.fnUntraced(function* (directory: string, profile: Ref.Ref<Profile>) {
        const other = yield* load(directory);
        const all = yield* Ref.updateAndGet(profile, (own) => merged(own, other));
        yield* replaceFile(files, join(directory, START_PROFILE), JSON.stringify(all));
      });

      return StartProfile.of({
        read: (directory) => Effect.flatMap(Cache.get(profiles, directory), Ref.get),
        update: Effect.fnUntraced(function* (directory, change) {
          const profile = yield* Cache.get(profiles, directory);
          yield* Ref.update(profile, change);
          yield* background.run("the start profile", save(directory, profile));
        }),
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([BackgroundWork.layer, safeFileSystem]),
  );
}
