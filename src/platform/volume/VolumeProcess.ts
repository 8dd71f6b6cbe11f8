import { Context, Duration, Effect, Layer, Option, Ref, Schema } from "effect";

import type { DiskFault } from "../files/DiskFault.ts";
import { isWithin } from "../files/JobFolders.ts";
import { patience } from "./Patience.ts";
import { volumeState } from "./VolumeState.ts";

/** Maximum time that an operation may take without reporting progress. */
const DEADLINE = Duration.seconds(20);

/** Time between checks of a volume that is in use, so that the delay of a job on a volume that hangs is logged. */
const CHECK_INTERVAL = Duration.seconds(15);

export interface RequestOptions {
  /** Maximum time without a reply or progress. */
  readonly deadline?: Duration.Duration;
}

/** Operations that touch files name one. */
const shownPath = (args: object): string =>
  "path" in args && typeof args.path === "string" ? ` of ${args.path}` : "";

/**
 * Runs every operation on the network volume in a child process. A volume that hangs then blocks only that process:
 * the worker has no thread, open file or lock on the volume, so that it can always continue or exit.
 */
export class VolumeProcess extends Context.Service<
  VolumeProcess,
  {
    /**
     * Runs an operation on the volume; interruption cancels it. Logs a warning after 5 seconds. Fails with ETIMEDOUT
     * after the deadline (20 seconds by default), and then at once until the volume responds again.
     */
    readonly request: <A>(
      operation: string,
      args: object,
      reply: Schema.Decoder<A>,
      options?: RequestOptions,
    ) => Effect.Effect<A, DiskFault>;
    /** Whether a path is on the volume, by its name. */
    readonly contains: (path: string) => boolean;
  }
>()("worker-tetra/platform/volume/VolumeProcess") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const { volume, connected, giveUp, unresponsive, isInUse } = yield* volumeState;
      const waitFor = yield* patience(volume);

      const request = Effect.fnUntraced(function* <A>(
        operation: string,
        args: object,
        reply: Schema.Decoder<A>,
        { deadline = DEADLINE }: RequestOptions = {},
      ) {
        const connection = yield* connected;
        const pending = connection.send(operation, args);
        const what = `${operation}${shownPath(args)}`;
        const expired = Effect.andThen(giveUp(connection), Effect.fail(unresponsive));
        const cancel = Effect.sync(() => connection.cancel(pending));
        const value = yield* waitFor(pending, what, deadline, expired).pipe(
          Effect.onInterrupt(() => cancel),
        );
        return yield* Schema.decodeUnknownEffect(reply)(value).pipe(Effect.orDie);
      });

      const lastFault = yield* Ref.make("");
      const checkVolume = Effect.gen(function* () {
        if (!(yield* isInUse)) return;
        const checked = request("files.statfs", { path: volume }, Schema.Unknown);
        const fault = Option.getOrUndefined(yield* Effect.option(Effect.flip(checked)));
        const previous = yield* Ref.getAndSet(lastFault, fault?.code ?? "");
        // That it does not respond was logged already.
        if (fault === undefined || [previous, "ETIMEDOUT"].includes(fault.code)) return;
        yield* Effect.logWarning(fault.message);
      });
      yield* checkVolume.pipe(Effect.delay(CHECK_INTERVAL), Effect.forever, Effect.forkScoped);

      return VolumeProcess.of({
        request,
        contains: (path) => isWithin(volume, path),
      });
    }),
  );
}
