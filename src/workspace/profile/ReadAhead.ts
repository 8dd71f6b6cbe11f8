import { join } from "node:path";

import { Clock, Context, Duration, Effect, Layer, Schema } from "effect";

import { BackgroundWork } from "../../platform/BackgroundWork.ts";
import { VolumeProcess } from "../../platform/volume/VolumeProcess.ts";
import { wallMillis } from "../../settings/SteadyClock.ts";
import type { PreparedWorkspace } from "../PreparedWorkspace.ts";
import { sharedDirectory } from "../Volume.ts";
import { currentFiles, ProfiledFile, withFiles } from "./Profile.ts";
import { StartProfile } from "./StartProfile.ts";

/** The part of the free memory that may be filled with the content of files. */
const MEMORY_SHARE = 0.25;

/** The link to the virtual environment of a workspace. */
const VENV = ".venv";

const Mapped = Schema.Array(
  Schema.Struct({
    path: Schema.String,
    ranges: Schema.Array(Schema.Tuple([Schema.Int, Schema.Int])),
  }),
);

const isProfiledFile = Schema.is(ProfiledFile);

/**
 * Reads what a new worker of an endpoint needs of the large files on a network volume, before its processes ask for it
 * in small parts.
 */
export class ReadAhead extends Context.Service<
  ReadAhead,
  {
    /** Reads the files of the endpoint's workspace; ends when they are in memory. */
    readonly read: Effect.Effect<void>;
    /** Records which files the process with this id has in memory, when no job is running. */
    readonly record: (
      workspace: Pick<PreparedWorkspace, "directory">,
      pid: number,
    ) => Effect.Effect<void>;
  }
>()("worker-tetra/workspace/ReadAhead") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const volume = yield* VolumeProcess;
      const profile = yield* StartProfile;
      const background = yield* BackgroundWork;
      const directory = yield* sharedDirectory;

      const read = Effect.gen(function* () {
        const files = currentFiles(yield* profile.read(directory), yield* wallMillis);
        if (files.length === 0) return;
        const started = yield* Clock.currentTimeMillis;
        const limit = Math.floor(process.availableMemory() * MEMORY_SHARE);
        // The workspace is prepared meanwhile, and will most likely use this virtual environment.
        const args = { root: join(directory, VENV), files, limit };
        const bytes = yield* volume.request("readahead.read", args, Schema.Int);
        const time = Duration.millis((yield* Clock.currentTimeMillis) - started);
        yield* Effect.logDebug(
          `Read ${Math.round(bytes / 1e6)} MB of the virtual environment ahead in ${Duration.format(time)}`,
        );
      });

      const record = Effect.fnUntraced(function* (workspace: string, pid: number) {
        // Not the one that the process runs in, which may be a copy on the local disk with links to the large files.
        const args = { pid, root: join(workspace, VENV) };
        const mapped = yield* volume.request("readahead.mapped", args, Mapped);
        const files = mapped.filter(isProfiledFile);
        if (files.length === 0) return;
        yield* profile.update(workspace, (before) => withFiles(before, files));
      });

      return ReadAhead.of({
        read: Effect.catch(read, ({ message }) =>
          Effect.logDebug(`Nothing read ahead: ${message}`),
        ),
        record: ({ directory: workspace }, pid) =>
          volume.contains(workspace)
            ? background.run(
                "recording the files to read ahead",
                // Such as a process that has ended.
                Effect.catch(record(workspace, pid), ({ message }) =>
                  Effect.logDebug(`Could not record the files to read ahead: ${message}`),
                ),
              )
            : Effect.void,
      });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([VolumeProcess.layer, StartProfile.layer, BackgroundWork.layer]),
  );
}
