import { basename } from "node:path";

import { Effect, FileSystem, Option } from "effect";

import { Environment } from "../../settings/Environment.ts";
import * as Setting from "../../settings/Setting.ts";
import type { Place } from "../../venv/Place.ts";
import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import { jobEnvironment } from "../JobEnvironment.ts";
import type { PreparedWorkspace } from "../PreparedWorkspace.ts";
import { compileKey, compileMachine } from "../models/CompileKey.ts";
import { CompileUse } from "../models/CompileUse.ts";
import { LocalModels } from "../models/LocalModels.ts";
import { activeWorkspace } from "./ActiveWorkspace.ts";
import { linkApp } from "./AppLink.ts";
import { linkModels } from "./ModelCache.ts";
import { temporaryFolder } from "./TemporaryFolder.ts";
import { venvLeases } from "./VenvLeases.ts";

const APP_PATH = Setting.text({
  name: "WORKER_APP_PATH",
  doc: "Folder in which programs of the image (such as vLLM) expect a virtual environment named .venv. The worker creates a link there.",
  expected: "a path",
  fallback: "/app",
});

/** Activates virtual environments for jobs: acquires a lease, publishes the venv and creates links. */
export const activation = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const venvs = yield* VenvBuilder;
  const environment = yield* Environment;
  const appPath = yield* APP_PATH.value;
  const leases = yield* venvLeases;
  const machine = yield* Effect.cached(compileMachine(files));
  const models = yield* LocalModels;
  const compileUse = yield* CompileUse;
  const active = yield* activeWorkspace;

  /** None if the venv was removed before it could be leased. */
  const activate = Effect.fn("Workspace.activate")(function* (place: Place, venv: Venv) {
    if (!(yield* leases.acquire(venv))) return Option.none<PreparedWorkspace>();
    const shared = {
      ...jobEnvironment(
        environment,
        place,
        venv.prefix,
        compileKey(yield* machine, basename(venv.prefix)),
      ),
      ...(yield* temporaryFolder(files, place)),
    };
    const [, , ofModels] = yield* Effect.all(
      [
        Effect.catch(venvs.publish(place, venv), (error) => Effect.logWarning(error.message)),
        linkApp(files, appPath, place.directory),
        Effect.andThen(linkModels(files, place, shared), models.variables(place, shared)),
      ],
      { concurrency: "unbounded" },
    );
    const variables = { ...shared, ...ofModels };
    yield* compileUse.mark(place, variables);
    return Option.some(
      yield* active.set(place, {
        directory: place.directory,
        python: venv.python,
        prefix: venv.prefix,
        version: venv.version,
        basePython: venv.base.executable,
        environment: variables,
        venv,
      }),
    );
  });

  /** Stops using the active venv and releases its lease, so that it can be removed. */
  const deactivate = Effect.gen(function* () {
    const before = yield* active.get;
    yield* active.invalidate;
    if (Option.isSome(before)) yield* leases.release(before.value.prepared.prefix);
  });

  return { active, activate, deactivate };
});

export type Activation = Effect.Success<typeof activation>;
