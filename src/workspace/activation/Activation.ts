import { basename } from "node:path";

import { Effect, FileSystem, Option } from "effect";

import { Environment } from "../../settings/Environment.ts";
import * as Setting from "../../settings/Setting.ts";
import type { Place } from "../../venv/Place.ts";
import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import { jobEnvironment } from "../JobEnvironment.ts";
import type { PreparedWorkspace } from "../PreparedWorkspace.ts";
import { LocalCopies } from "../copies/LocalCopies.ts";
import { Packing } from "../copies/Packing.ts";
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

const workspaceIn = (
  { directory }: Place,
  venv: Venv,
  environment: PreparedWorkspace["environment"],
): Omit<PreparedWorkspace, "generation"> => ({
  directory,
  python: venv.python,
  prefix: venv.prefix,
  version: venv.version,
  basePython: venv.base.executable,
  environment,
  venv,
});

/** Activates virtual environments: acquires a lease, copies and publishes the venv, and creates links. */
const activating = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem;
  const venvs = yield* VenvBuilder;
  const environment = yield* Environment;
  const appPath = yield* APP_PATH.value;
  const leases = yield* venvLeases;
  const machine = yield* Effect.cached(compileMachine(files));
  const models = yield* LocalModels;
  const compileUse = yield* CompileUse;
  const copies = yield* LocalCopies;
  const packing = yield* Packing;
  const active = yield* activeWorkspace;

  const activate = Effect.fn("Workspace.activate")(function* (
    place: Place,
    given: Venv,
    isNew = false,
  ) {
    const original = yield* copies.originalOf(given);
    if (!(yield* leases.acquire(original))) return Option.none<PreparedWorkspace>();
    const source = { place, venv: original };
    const temporary = yield* temporaryFolder(files, place);
    const key = compileKey(yield* machine, basename(original.prefix));
    const variablesFor = ({ prefix }: Venv) => ({
      ...jobEnvironment(environment, place, prefix, key),
      ...temporary,
    });
    const shared = variablesFor(original);
    const [copy, , , ofModels] = yield* Effect.all(
      [
        copies.copyOf(source),
        Effect.catch(venvs.publish(place, original), (error) => Effect.logWarning(error.message)),
        linkApp(files, appPath, place.directory),
        Effect.andThen(linkModels(files, place, shared), models.variables(place, shared)),
      ],
      { concurrency: "unbounded" },
    );
    if (Option.isNone(copy) || (yield* copies.isOutdated(copy.value))) {
      yield* packing.update(source, isNew);
    }
    const venv = Option.getOrElse(copy, () => original);
    const variables = { ...variablesFor(venv), ...ofModels };
    yield* compileUse.mark(place, variables);
    return Option.some(yield* active.set(place, workspaceIn(place, venv, variables)));
  });

  /** Stops using the active venv and releases its lease, so that it can be removed. */
  const deactivate = Effect.gen(function* () {
    const before = yield* active.get;
    yield* active.invalidate;
    if (Option.isNone(before)) return;
    const { prefix } = yield* copies.originalOf(before.value.prepared.venv);
    yield* leases.release(prefix);
  });

  return {
    active,
    /**
     * Activates a venv, or its copy on the local disk; none if it was removed before it could be leased. `isNew`: this
     * worker has just built it.
     */
    activate,
    deactivate,
  };
});

/** The active virtual environment: changes it, and records changes of its packages. */
export const activation = Effect.gen(function* () {
  const { active, activate, deactivate } = yield* activating;
  const copies = yield* LocalCopies;
  const packing = yield* Packing;

  /** Activates what the active venv is a copy of. */
  const leaveCopy = Effect.gen(function* () {
    const now = yield* active.get;
    if (Option.isNone(now)) return;
    const { venv } = now.value.prepared;
    const source = yield* copies.sourceOf(venv);
    if (Option.isNone(source)) return;
    yield* copies.discard(venv);
    yield* activate(source.value.place, source.value.venv);
  });

  const packagesAdded = Effect.fnUntraced(function* (prepared: PreparedWorkspace) {
    const { venv } = prepared;
    const now = yield* active.get;
    if (Option.isSome(now) && Option.isNone(yield* copies.sourceOf(venv))) {
      yield* packing.update({ place: now.value.place, venv }, false);
    }
    return yield* active.packagesAdded(prepared);
  });

  return { active, activate, deactivate, leaveCopy, packagesAdded };
});

export type Activation = Effect.Success<typeof activation>;
