import { statfs } from "node:fs/promises";

import { Context, Effect, Layer, Option } from "effect";

import { Programs } from "./Programs.ts";

/** Counting a big folder on a network volume can take very long: seconds. */
const PATIENCE = 20;

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;

/** How full disks are, and with what. */
export class DiskUsage extends Context.Service<
  DiskUsage,
  {
    /** A line for the disk of a folder, and one for each of the given folders on it that are there. */
    readonly report: (disk: string, folders: ReadonlyArray<string>) => Effect.Effect<string>;
  }
>()("worker-tetra/workspace/DiskUsage") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const programs = yield* Programs;

      const report = Effect.fn("DiskUsage.report")(function* (
        disk: string,
        folders: ReadonlyArray<string>,
      ) {
        const space = yield* Effect.option(Effect.tryPromise(() => statfs(disk)));
        const whole = Option.match(space, {
          onNone: () => `${disk}: can't be looked at`,
          onSome: ({ bsize, blocks, bavail }) =>
            `${disk}: ${gigabytes(bsize * bavail)} free of ${gigabytes(bsize * blocks)} (a quota does not show here)`,
        });
        const counted = yield* Effect.forEach(folders, (folder) =>
          programs.run("du", ["-sk", "--", folder]).pipe(
            Effect.map((line) => `  ${folder}: ${gigabytes(Number.parseInt(line, 10) * 1024)}`),
            Effect.timeout({ seconds: PATIENCE }),
            Effect.option,
          ),
        );
        return [whole, ...counted.flatMap(Option.toArray)].join("\n");
      });

      return DiskUsage.of({ report });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(Layer.provide(Programs.layer));
}
