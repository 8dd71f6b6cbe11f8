import { join } from "node:path";

import { Effect, Option, Schema } from "effect";

import { type AppStartFailed, startFailed } from "../AppStartFailed.ts";
import { type App, Concurrency } from "./App.ts";
import { unknownResource } from "./ResourceName.ts";

export const SDK_MANIFEST = "runpod_manifest.json";

/** The folder of the packages that the client has put into the archive. */
const PACKAGES = "env";

/** The version of the format that this worker reads. */
const VERSION = 1;

const SdkResource = Schema.Struct({
  kind: Schema.Literals(["queue", "api", "task"]),
  name: Schema.NonEmptyString,
  /** Both are absent if the resource has no code. */
  module: Schema.optionalKey(Schema.NonEmptyString),
  qualname: Schema.optionalKey(Schema.NonEmptyString),
  systemDependencies: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.String))),
  maxConcurrency: Schema.optionalKey(Schema.NullOr(Concurrency)),
});

/** `runpod_manifest.json`, as the package `runpod` 2.0 writes it. */
export const SdkManifest = Schema.Struct({
  version: Schema.Literal(VERSION),
  pythonVersion: Schema.optionalKey(Schema.NullOr(Schema.String)),
  excludedPackages: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.String))),
  resources: Schema.Array(SdkResource),
});
export type SdkManifest = typeof SdkManifest.Type;

/** The resources that a worker of an endpoint can serve. */
export const sdkResources = ({ resources }: SdkManifest) =>
  resources.flatMap(({ kind, name }) =>
    kind === "task" ? [] : [{ client: "sdk" as const, name, kind }],
  );

/** The app for one of its resources. `concurrency` has precedence over the manifest. */
export const sdkApp = Effect.fnUntraced(function* (
  folder: string,
  manifest: SdkManifest,
  wanted: string,
  concurrency: Option.Option<number>,
): Effect.fn.Return<App, AppStartFailed> {
  const resource = manifest.resources.find(({ name }) => name === wanted);
  if (resource === undefined) {
    const known = manifest.resources.map(({ name }) => name);
    return yield* unknownResource(wanted, SDK_MANIFEST, known);
  }
  const { kind, module, qualname } = resource;
  if (kind === "task") {
    return yield* startFailed(
      "locate",
      `The resource ${resource.name} is a task, and this worker serves only queue and api resources`,
      "Tasks run in pods; start it with the client.",
    );
  }
  if (module === undefined || qualname === undefined) {
    return yield* startFailed(
      "locate",
      `The resource ${resource.name} has no code: ${SDK_MANIFEST} names neither its module nor its function`,
      "Deploy the app again.",
    );
  }
  return {
    folder,
    path: [join(folder, PACKAGES), folder],
    resource: {
      client: "sdk",
      name: resource.name,
      kind,
      targets: [{ module, name: qualname, methods: [] }],
      handlerFile: null,
    },
    maxConcurrency: Option.getOrElse(concurrency, () => resource.maxConcurrency ?? 1),
    pythonVersion: Option.fromNullishOr(manifest.pythonVersion),
    excludedPackages: manifest.excludedPackages ?? [],
    systemDependencies: resource.systemDependencies ?? [],
  };
});
