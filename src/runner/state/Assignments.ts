import type { Array as Arr } from "effect";

import type { Runner } from "../Runner.ts";
import type { Call } from "../call/Call.ts";

type Candidate = Pick<Runner, "hasInstance" | "prefix">;

/** A call that is running in a runner or waiting for it. */
interface Assignment<R> {
  readonly runner: R;
  readonly instance: string | null;
}

/** Assigns calls to runners. There are about as many calls as runners, so linear searches are fast. */
export class Assignments<R extends Candidate> {
  private readonly runners: Arr.NonEmptyReadonlyArray<R>;
  private readonly running = new Set<Assignment<R>>();

  constructor(runners: Arr.NonEmptyReadonlyArray<R>) {
    this.runners = runners;
  }

  /** Assigns a call to a runner. */
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

  /** The runner that has an instance, or has a running call that may create it. */
  private runnerOf(instance: string): R | undefined {
    for (const assignment of this.running) {
      if (assignment.instance === instance) return assignment.runner;
    }
    return this.runners.find((runner) => runner.hasInstance(instance));
  }

  /** One of the runners with the fewest calls. Avoids starting or replacing a process, and spreads new instances. */
  private leastBusy(prefix: string, instance: string | null): R {
    const loads = new Map(this.runners.map((runner) => [runner, 0]));
    for (const { runner } of this.running) loads.set(runner, (loads.get(runner) ?? 0) + 1);
    const least = Math.min(...loads.values());
    const candidates = this.runners.filter((runner) => loads.get(runner) === least);
    return (
      candidates.find((runner) => runner.prefix() === prefix) ??
      candidates.find((runner) => runner.prefix() !== undefined && instance === null) ??
      candidates.find((runner) => runner.prefix() === undefined) ??
      candidates[0] ??
      this.runners[0]
    );
  }
}
