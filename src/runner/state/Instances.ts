import type { CallMeta, CallResult } from "../RunnerProtocol.ts";

/** The number of lost instances for which the reason is kept. */
const MAX_LOST = 1024;

/** The ids of the instances in a process, the most recently used last, in the same order as in the runner. */
export class LiveInstances {
  private readonly live = new Set<string>();

  get size(): number {
    return this.live.size;
  }

  get ids(): ReadonlyArray<string> {
    return [...this.live];
  }

  has(id: string): boolean {
    return this.live.has(id);
  }

  /** Applies what a call did: it created or used an instance, or removed the least recently used ones. */
  update(meta: Pick<CallMeta, "instanceId">, result: CallResult): void {
    const { instance, instances, lives } = result;
    if (meta.instanceId !== null && !lives) this.live.delete(meta.instanceId);
    if (instance !== null) {
      this.live.delete(instance.id);
      this.live.add(instance.id);
    }
    const excess = this.live.size - instances;
    if (excess > 0) for (const id of this.ids.slice(0, excess)) this.live.delete(id);
  }
}

/** The ids of instances that were lost with their process, and the reasons; the oldest are dropped first. */
export class LostInstances {
  private readonly reasons = new Map<string, string>();

  has(id: string): boolean {
    return this.reasons.has(id);
  }

  add(ids: ReadonlyArray<string>, reason: string): void {
    for (const id of ids) {
      this.reasons.delete(id);
      this.reasons.set(id, reason);
    }
    for (const id of [...this.reasons.keys()].slice(0, -MAX_LOST)) this.reasons.delete(id);
  }

  /** Returns and removes the reason why an instance was lost; undefined if it was not lost. */
  remove(id: string): string | undefined {
    const reason = this.reasons.get(id);
    this.reasons.delete(id);
    return reason;
  }
}
