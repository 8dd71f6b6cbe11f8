import { Effect, ScopedRef } from "effect";

/** Like `ScopedRef.set`, but interruptible while it acquires the new value: the start of a process can take minutes. */
export const setInterruptibly = <A, E, R>(
  reference: ScopedRef.ScopedRef<A>,
  acquire: Effect.Effect<A, E, R>,
) => Effect.uninterruptibleMask((restore) => ScopedRef.set(reference, restore(acquire)));
