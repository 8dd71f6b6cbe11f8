import { Effect, Option, Schema } from "effect";

import { type AppStartFailed, startFailed } from "../AppStartFailed.ts";
import { type App, Concurrency } from "./App.ts";
import { unknownResource } from "./ResourceName.ts";

export const FLASH_MANIFEST = "flash_manifest.json";

const FlashFunction = Schema.Struct({
  name: Schema.NonEmptyString,
  module: Schema.NonEmptyString,
  class_methods: Schema.optionalKey(Schema.Array(Schema.String)),
});

const FlashResource = Schema.Struct({
  functions: Schema.Array(FlashFunction),
  is_load_balanced: Schema.optionalKey(Schema.Boolean),
  /** A resource without code, made from an image: `Endpoint(image=…)`. */
  client_mode: Schema.optionalKey(Schema.Boolean),
  max_concurrency: Schema.optionalKey(Schema.NullOr(Concurrency)),
  target_python_version: Schema.optionalKey(Schema.NullOr(Schema.String)),
});

/** `flash_manifest.json`, as runpod-flash 1.21 writes it. */
export const FlashManifest = Schema.Struct({
  python_version: Schema.optionalKey(Schema.NullOr(Schema.String)),
  resources: Schema.Record(Schema.String, FlashResource),
});
export type FlashManifest = typeof FlashManifest.Type;

const kindOf = ({ is_load_balanced }: typeof FlashResource.Type): "api" | "queue" =>
  is_load_balanced === true ? "api" : "queue";

/** The resources that have code. */
export const flashResources = ({ resources }: FlashManifest) =>
  Object.entries(resources)
    .filter(([, { client_mode }]) => client_mode !== true)
    .map(([name, resource]) => ({ client: "flash" as const, name, kind: kindOf(resource) }));

/** Flash adds a prefix to live resources and a suffix to those with FlashBoot. */
const withoutDecoration = (name: string): string => name.replace(/^live-/, "").replace(/-fb$/, "");

/** The known name that a resource's name means. */
const matchingName = (known: ReadonlyArray<string>, name: string): string | undefined =>
  known.find((one) => one === name) ??
  known.find((one) => withoutDecoration(one) === withoutDecoration(name));

/** The app for one of its resources. */
export const flashApp = Effect.fnUntraced(function* (
  folder: string,
  manifest: FlashManifest,
  wanted: string,
): Effect.fn.Return<App, AppStartFailed> {
  const known = Object.keys(manifest.resources);
  const name = matchingName(known, wanted);
  const resource = name === undefined ? undefined : manifest.resources[name];
  if (name === undefined || resource === undefined) {
    return yield* unknownResource(wanted, FLASH_MANIFEST, known);
  }
  if (resource.client_mode === true) {
    return yield* startFailed(
      "locate",
      `The resource ${name} has no code: it is an Endpoint with another image`,
      "Use that image, or add functions to the resource.",
    );
  }
  return {
    folder,
    path: [folder],
    resource: {
      client: "flash",
      name,
      kind: kindOf(resource),
      targets: resource.functions.map((one) => ({
        module: one.module,
        name: one.name,
        methods: one.class_methods ?? [],
      })),
      // The manifest leaves it out for load-balanced resources.
      handlerFile: `handler_${name}.py`,
    },
    maxConcurrency: resource.max_concurrency ?? 1,
    pythonVersion: Option.fromNullishOr(resource.target_python_version ?? manifest.python_version),
    excludedPackages: [],
    systemDependencies: [],
  };
});
