import { statfs } from "node:fs/promises";

import { ByteSize, Context, Duration, Effect, Layer, Option, Schema } from "effect";

import { Programs } from "../programs/Programs.ts";
import { VolumeProcess } from "../volume/VolumeProcess.ts";

/** Measuring a large folder on a network volume can take very long. */
const SIZE_TIMEOUT = Duration.seconds(20);

/** Why the free space of a disk may not grow after files were deleted. */
export const ABOUT_TRASH =
  "On MooseFS, deleting files frees a quota at once, but space of the disk only when their time in the trash is over (24 hours by default).";

/** Formats a number of bytes, such as `1.5 GB`. */
export const formatBytes = (bytes: number): string =>
  ByteSize.format(ByteSize.bytes(BigInt(bytes)), {
    system: "decimal",
    precision: 1,
    trailingZeros: true,
  });

/** The space of a disk, in bytes. */
const Space = Schema.Struct({ free: Schema.Int, total: Schema.Int });
export type Space = typeof Space.Type;

const spaceHere = (folder: string) =>
  Effect.option(Effect.tryPromise(() => statfs(folder))).pipe(
    Effect.map(
      Option.map(({ bsize, blocks, bavail }) => ({
        free: bsize * bavail,
        total: bsize * blocks,
      })),
    ),
  );

const Measured = Schema.Struct({ bytes: Schema.Int, isComplete: Schema.Boolean });

/** Free space of disks and sizes of folders. */
export class DiskUsage extends Context.Service<
  DiskUsage,
  {
    /** Space of the disk that a folder is on, without regard to quotas; none if it is unknown. */
    readonly space: (folder: string) => Effect.Effect<Option.Option<Space>>;
    /** Size of a folder in bytes; none if it does not exist or measuring takes too long. */
    readonly size: (folder: string) => Effect.Effect<Option.Option<number>>;
    /** One line for the disk of a folder, and one for each of the given folders that exist. */
    readonly report: (disk: string, folders: ReadonlyArray<string>) => Effect.Effect<string>;
  }
>()("worker-tetra/platform/files/DiskUsage") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const programs = yield* Programs;
      const volume = yield* VolumeProcess;

      const space = (folder: string) =>
        volume.contains(folder)
          ? Effect.option(volume.request("files.statfs", { path: folder }, Space))
          : spaceHere(folder);

      /** The size of the files, since the blocks of a network volume are much larger than its small files. */
      const sizeOnVolume = (folder: string) =>
        volume
          .request(
            "files.size",
            { path: folder, seconds: Duration.toSeconds(SIZE_TIMEOUT) },
            Measured,
          )
          .pipe(
            Effect.filterOrFail(({ isComplete }) => isComplete),
            Effect.map(({ bytes }) => bytes),
            Effect.option,
          );

      const sizeHere = (folder: string) =>
        programs.run("du", ["-sk", "--", folder]).pipe(
          Effect.map((line) => Number.parseInt(line, 10) * 1024),
          Effect.filterOrFail(Number.isFinite),
          Effect.timeout(SIZE_TIMEOUT),
          Effect.option,
        );

      const size = (folder: string) =>
        volume.contains(folder) ? sizeOnVolume(folder) : sizeHere(folder);

      const sizeLine = (folder: string) =>
        Effect.map(
          size(folder),
          Option.map((bytes) => `  ${folder}: ${formatBytes(bytes)}`),
        );

      const report = Effect.fn("DiskUsage.report")(function* (
        disk: string,
        folders: ReadonlyArray<string>,
      ) {
        const whole = Option.match(yield* space(disk), {
          onNone: () => `${disk}: free space is unknown`,
          onSome: ({ free, total }) =>
            `${disk}: ${formatBytes(free)} free of ${formatBytes(total)} (without regard to quotas)`,
        });
        const sizes = yield* Effect.forEach(folders, sizeLine, { concurrency: "unbounded" });
        return [whole, ...sizes.flatMap(Option.toArray)].join("\n");
      });

      return DiskUsage.of({ space, size, report });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([Programs.layer, VolumeProcess.layer]),
  );
}
