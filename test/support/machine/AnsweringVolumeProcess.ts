import { Effect, Layer, Schema } from "effect";

import type { DiskFault } from "../../../src/platform/files/DiskFault.ts";
import { VolumeProcess } from "../../../src/platform/volume/VolumeProcess.ts";

/** The volume's mount point. */
export const VOLUME = "/runpod-volume";

export interface VolumeRequest {
  readonly operation: string;
  readonly args: object;
}

/** A process for the volume that answers by a function, and its requests. */
export const answeringVolumeProcess = (
  answer: (request: VolumeRequest) => Effect.Effect<unknown, DiskFault>,
  volume = VOLUME,
) => {
  const requests: Array<VolumeRequest> = [];
  const layer = Layer.succeed(VolumeProcess, {
    contains: (path) => `${path}/`.startsWith(`${volume}/`),
    request: (operation, args, reply) => {
      const request = { operation, args };
      requests.push(request);
      return Effect.flatMap(answer(request), (value) =>
        Effect.orDie(Schema.decodeUnknownEffect(reply)(value)),
      );
    },
  });
  return { layer, requests };
};
