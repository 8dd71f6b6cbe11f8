import { Context, Effect, Latch } from "effect";

/** What signals ask of this process: the first one to finish, where a command can do that; the next to end at once. */
export class Shutdown extends Context.Service<
  Shutdown,
  {
    /** Until somebody asks this process to end. Who waits for it takes it on to do so. */
    readonly requested: Effect.Effect<void>;
    /** Tells of a signal; false when nobody takes it on. */
    readonly request: () => boolean;
    readonly isRequested: () => boolean;
  }
>()("worker-tetra/cli/Shutdown") {
  static make(): Shutdown["Service"] {
    const latch = Latch.makeUnsafe();
    let isAwaited = false;
    return Shutdown.of({
      requested: Effect.suspend(() => {
        isAwaited = true;
        return latch.await;
      }),
      request: () => {
        if (!isAwaited || latch.isOpen()) return false;
        latch.openUnsafe();
        return true;
      },
      isRequested: latch.isOpen,
    });
  }
}
