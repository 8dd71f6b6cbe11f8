import { Deferred, Exit, Option, Schema } from "effect";

import { ImportEvent } from "../RunnerProtocol.ts";

const decodeEvent = Schema.decodeUnknownOption(ImportEvent);

/** How the imports of an idle process ended. */
export type ImportsEnd =
  | { readonly _tag: "Done" }
  /** The process ended; `module` is the one that it was importing. */
  | { readonly _tag: "ProcessEnded"; readonly module: string | undefined };

/**
 * Follows the imports of a process by the frames that it sends. Any code in the process can send them too, so the events
 * of idle imports only count between their request and their end, which the runner sends before it runs a call.
 */
export class ImportWatch {
  private requested: ReadonlySet<string> = new Set();
  private current: string | undefined;
  private end: Deferred.Deferred<ImportsEnd> | undefined;
  private listener: (event: ImportEvent) => void = () => {};

  /** Sends all further events to a function, which must not block. */
  listen(listener: (event: ImportEvent) => void): void {
    this.listener = listener;
  }

  /** Must be called when imports are requested from the process. */
  begin(modules: ReadonlyArray<string>): Deferred.Deferred<ImportsEnd> {
    this.requested = new Set(modules);
    this.end = Deferred.makeUnsafe();
    return this.end;
  }

  /** Whether the process is importing modules, or was when it ended: then it has not begun the next call. */
  get isRunning(): boolean {
    return this.end !== undefined;
  }

  receive(meta: unknown): void {
    const event = Option.getOrUndefined(decodeEvent(meta));
    if (event === undefined) return;
    if (event.event !== "used" && !this.accepts(event)) return;
    this.listener(event);
  }

  private accepts(event: Exclude<ImportEvent, { readonly event: "used" }>): boolean {
    if (this.end === undefined) return false;
    if (event.event === "done") {
      this.abandon();
      return true;
    }
    if (!this.requested.has(event.module)) return false;
    this.current = event.event === "started" ? event.module : undefined;
    return true;
  }

  /** Must be called before the worker ends the process: then no module is the cause. */
  abandon(): void {
    if (this.end !== undefined) Deferred.doneUnsafe(this.end, Exit.succeed({ _tag: "Done" }));
    this.end = undefined;
  }

  /** Must be called when the process has ended. */
  processEnded(): void {
    if (this.end === undefined) return;
    const end: ImportsEnd = { _tag: "ProcessEnded", module: this.current };
    Deferred.doneUnsafe(this.end, Exit.succeed(end));
  }
}
