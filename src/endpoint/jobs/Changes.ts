import { Effect, Latch } from "effect";

/** Lets fibers wait until a condition is met that depends on mutable state. */
export class Changes {
  private latch = Latch.makeUnsafe();

  /** To be called after each change of the state. Waiting fibers may run before it returns. */
  notify(): void {
    const { latch } = this;
    this.latch = Latch.makeUnsafe();
    latch.openUnsafe();
  }

  /** Waits until the condition is met; checks it at once and after each change. */
  until(isMet: () => boolean): Effect.Effect<void> {
    const next = Effect.suspend(() => this.latch.await);
    return Effect.gen(function* () {
      while (!isMet()) yield* next;
    });
  }
}
