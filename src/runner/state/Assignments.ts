import type { Array as Arr } from "effect";

import type { Runner } from "../Runner.ts";
import type { Call } from "../call/Call.ts";

/** What a choice depends on. */
type Candidate = Pick<Runner, "hasInstance" | "prefix">;

/** A call that was given to a runner and is not over; it may wait for its turn there. */
interface Assignment<R> {
  readonly runner: R;
  readonly instance: string | null;
}

/** Which runner has which calls. There are about as many calls as runners, so looking through all of them is quick. */
export class Assignments<R extends Candidate> {
  private readonly runners: Arr.NonEmptyReadonlyArray<R>;
  private readonly running = new Set<Assignment<R>>();

  constructor(runners: Arr.NonEmptyReadonlyArray<R>) {
    this.runners = runners;
  }

  /** Gives a call to a runner. */
  begin(call: Pick<Call, "workspace"> & { readonly meta: Pick<Call["meta"], "instanceId"> }) {
    const { instanceId: instance } = call.meta;
    const runner =
      (instance === null ? undefined : this.runnerOf(instance)) ??
      this.leastBusy(call.workspace.prefix, instance);
    const assignment: Assignment<R> = { runner, instance };
    this.running.add(assignment);
    return assignment;
  }

  end(assignment: Assignment<R>): void {
    this.running.delete(assignment);
  }

  /** The runner that has an instance, or is going to have it after a call that is running. */
  private runnerOf(instance: string): R | undefined {
    for (const assignment of this.running) {
      if (assignment.instance === instance) return assignment.runner;
    }
    return this.runners.find((runner) => runner.hasInstance(instance));
  }

  /** One of those with the fewest calls: no process is started or replaced needlessly, and new instances spread out. */
  private leastBusy(prefix: string, instance: string | null): R {
    const loads = new Map(this.runners.map((runner) => [runner, 0]));
    for (const { runner } of this.running) loads.set(runner, (loads.get(runner) ?? 0) + 1);
    const least = Math.min(...loads.values());
    const free = this.runners.filter((runner) => loads.get(runner) === least);
    return (
      free.find((runner) => runner.prefix() === prefix) ??
      free.find((runner) => runner.prefix() !== undefined && instance === null) ??
      free.find((runner) => runner.prefix() === undefined) ??
      free[0] ??
      this.runners[0]
    );
  }
}
