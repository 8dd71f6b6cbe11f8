import { Effect, Latch } from "effect";

/** A condition variable: lets fibers wait until a condition on mutable state is met. */
export class Changes {
  private latch = Latch.makeUnsafe();

  /** Call it after each change of the state. Waiting fibers may run before it returns. */
  notify(): void {
    const { latch } = this;
    this.latch = Latch.makeUnsafe();
    latch.openUnsafe();
  }

  /** Waits until the condition is met; checks it immediately and after each change. */
  until(isMet: () => boolean): Effect.Effect<void> {
    const next = Effect.suspend(() => this.latch.await);
    return Effect.gen(function* () {
      while (!isMet()) yield* next;
    });
  }
}
