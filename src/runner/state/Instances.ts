import type { CallMeta, CallResult } from "../RunnerProtocol.ts";

/** How many lost instances are remembered, so that it can be explained why one was built again. */
const MAX_LOST = 1024;

/** The ids of the instances in a process, the one used last at the end, as the runner keeps them. */
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

  /** Follows what a call did to the instances: made one, used one, or removed the ones unused for longest. */
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

/** The ids of instances that ended with their process, and why; the oldest are forgotten first. */
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

  /** Why an instance was lost, and forgets it; undefined if it was not. */
  remove(id: string): string | undefined {
    const reason = this.reasons.get(id);
    this.reasons.delete(id);
    return reason;
  }
}
