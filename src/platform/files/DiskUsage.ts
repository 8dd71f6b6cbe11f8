import { statfs } from "node:fs/promises";

import { ByteSize, Context, Duration, Effect, Layer, Option } from "effect";

import { Programs } from "../Programs.ts";

/** Counting a big folder on a network volume can take very long. */
const MAX_COUNTING_TIME = Duration.seconds(20);

/** A number of bytes as people read it, such as `1.5 GB`. */
export const formatBytes = (bytes: number): string =>
  ByteSize.format(ByteSize.bytes(BigInt(bytes)), {
    system: "decimal",
    precision: 1,
    trailingZeros: true,
  });

/** The space of a disk, in bytes. */
export interface Space {
  readonly free: number;
  readonly total: number;
}

const space = (folder: string) =>
  Effect.option(Effect.tryPromise(() => statfs(folder))).pipe(
    Effect.map(
      Option.map(({ bsize, blocks, bavail }) => ({
        free: bsize * bavail,
        total: bsize * blocks,
      })),
    ),
  );

/** How full disks are, and with what. */
export class DiskUsage extends Context.Service<
  DiskUsage,
  {
    /** The disk that a folder is on; none where that can't be seen. Quotas do not show in it. */
    readonly space: (folder: string) => Effect.Effect<Option.Option<Space>>;
    /** What a folder holds, in bytes; none where it is not there, or too big to be counted soon. */
    readonly size: (folder: string) => Effect.Effect<Option.Option<number>>;
    /** A line for the disk of a folder, and one for each of the given folders on it that are there. */
    readonly report: (disk: string, folders: ReadonlyArray<string>) => Effect.Effect<string>;
  }
>()("worker-tetra/platform/files/DiskUsage") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const programs = yield* Programs;

      const size = (folder: string) =>
        programs.run("du", ["-sk", "--", folder]).pipe(
          Effect.map((line) => Number.parseInt(line, 10) * 1024),
          Effect.filterOrFail(Number.isFinite),
          Effect.timeout(MAX_COUNTING_TIME),
          Effect.option,
        );

      const report = Effect.fn("DiskUsage.report")(function* (
        disk: string,
        folders: ReadonlyArray<string>,
      ) {
        const whole = Option.match(yield* space(disk), {
          onNone: () => `${disk}: can't be looked at`,
          onSome: ({ free, total }) =>
            `${disk}: ${formatBytes(free)} free of ${formatBytes(total)} (a quota does not show here)`,
        });
        const counted = yield* Effect.forEach(folders, (folder) =>
          Effect.map(
            size(folder),
            Option.map((bytes) => `  ${folder}: ${formatBytes(bytes)}`),
          ),
        );
        return [whole, ...counted.flatMap(Option.toArray)].join("\n");
      });

      return DiskUsage.of({ space, size, report });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide(Programs.layer));
}
