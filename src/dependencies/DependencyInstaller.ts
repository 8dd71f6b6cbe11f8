import { Context, Effect, Layer, Schema } from "effect";

/** What a job needs beside its code. */
export interface Dependencies {
  /** PEP 508 requirements. */
  readonly python: ReadonlyArray<string>;
  /** Names of Debian packages. */
  readonly system: ReadonlyArray<string>;
}

/** A job names dependencies, and this worker does not install any yet. */
export class DependenciesUnsupported extends Schema.TaggedError<DependenciesUnsupported>()(
  "DependenciesUnsupported",
  { names: Schema.Array(Schema.String) },
) {
  override get message(): string {
    return (
      `This version of the worker does not install dependencies yet (asked for: ${this.names.join(", ")}). ` +
      "Put them into the image that WORKER_IMAGE_PYTHON names, and leave them out of the request."
    );
  }
}

/** Sees to it that what a job needs is there before its code runs. */
export class DependencyInstaller extends Context.Service<
  DependencyInstaller,
  { readonly ensure: (needed: Dependencies) => Effect.Effect<void, DependenciesUnsupported> }
>()("worker-tetra/dependencies/DependencyInstaller") {
  static readonly layer = Layer.succeed(
    this,
    DependencyInstaller.of({
      ensure: ({ python, system }) => {
        const names = [...python, ...system];
        return names.length === 0
          ? Effect.void
          : Effect.fail(new DependenciesUnsupported({ names }));
      },
    }),
  );
}
