import { Clock, Effect, FileSystem, Option } from "effect";

import { DiskFault, diskFault } from "../../platform/files/DiskFault.ts";
import type { PythonNotFound } from "../../venv/Interpreters.ts";
import type { Place } from "../../venv/Place.ts";
import type { Venv } from "../../venv/Venv.ts";
import { VenvBuilder } from "../../venv/VenvBuilder.ts";
import type { UvUnavailable } from "../../venv/uv/UvInstallation.ts";
import type { PreparedWorkspace, WorkspaceError } from "../PreparedWorkspace.ts";
import { Volume } from "../Volume.ts";
import type { Activation } from "../activation/Activation.ts";
import { startReport } from "./StartReport.ts";
import { volumeWarnings } from "./VolumeWarnings.ts";
import { workspaceVenvs } from "./WorkspaceVenvs.ts";

/** Another worker may remove a venv after it was found and before it is leased. */
const MAX_FIND_ATTEMPTS = 5;

/** A host that died during a removal keeps the locks of its venvs for a day, so these venvs are not used any more. */
const MAX_INVALIDATIONS = 8;

/** Whether the preparation may succeed on another disk. */
const isAboutPlace = (
  error: WorkspaceError,
): error is Exclude<WorkspaceError, PythonNotFound | UvUnavailable> =>
  error._tag !== "PythonNotFound" && error._tag !== "UvUnavailable";

const makeFolder = (files: FileSystem.FileSystem, { directory }: Place) =>
  Effect.mapError(
    files.makeDirectory(directory, { recursive: true }),
    diskFault(directory, "can't be created"),
  );

const removedRepeatedly = ({ prefix }: Venv) =>
  new DiskFault({
    path: prefix,
    code: "EAGAIN",
    problem: "can't be used",
    detail: `another worker was removing it in each of ${MAX_FIND_ATTEMPTS} attempts`,
  });

/** Prepares a workspace: finds or builds its virtual environment, and activates it. */
export const preparation = Effect.fnUntraced(function* ({ activate }: Activation) {
  const files = yield* FileSystem.FileSystem;
  const volume = yield* Volume;
  const venvs = yield* VenvBuilder;
  const report = yield* startReport;
  const warnings = yield* volumeWarnings;
  const { build, findOrBuild } = yield* workspaceVenvs;

  /** Prepares a workspace in a given place. A new venv gets the requirements of the broken one that it replaces. */
  const prepareIn = Effect.fn("Workspace.prepareIn")(function* (
    place: Place,
    requirementsOfBroken?: ReadonlyArray<string>,
  ) {
    const started = yield* Clock.currentTimeMillis;
    yield* makeFolder(files, place);
    for (let attempt = 1; ; attempt += 1) {
      const [venv, origin] = yield* findOrBuild(place, requirementsOfBroken);
      const isNew = origin === "created" || origin === "rebuilt";
      const prepared = yield* activate(place, venv, isNew);
      if (Option.isSome(prepared)) {
        const milliseconds = (yield* Clock.currentTimeMillis) - started;
        const volumeFault = yield* warnings.fault;
        yield* report({ place, venv, origin, milliseconds, volumeFault });
        return prepared.value;
      }
      if (attempt % MAX_FIND_ATTEMPTS !== 0) continue;
      if (attempt > MAX_FIND_ATTEMPTS * MAX_INVALIDATIONS) return yield* removedRepeatedly(venv);
      yield* Effect.logInfo(`${venv.prefix} stays locked for a removal; using another one`);
      yield* venvs.invalidate(venv);
    }
  });

  /** Prepares the workspace on the network volume; none if that fails. */
  const prepareOnVolume = Effect.fnUntraced(function* (place: Place) {
    const prepared = yield* Effect.catchIf(Effect.asSome(prepareIn(place)), isAboutPlace, (error) =>
      warnings.fallingBack(error, [place]),
    );
    if (place.isFull === true && Option.isSome(prepared)) {
      yield* warnings.usedWhileFull(prepared.value.prefix, place);
    }
    return prepared;
  });

  /** Prepares the workspace on the network volume, or on the container's disk if that fails. */
  const prepare = Effect.fn("Workspace.prepare")(function* () {
    const shared = yield* Effect.catch(volume.shared, (error) => warnings.fallingBack(error));
    const onVolume: Option.Option<PreparedWorkspace> = Option.isNone(shared)
      ? Option.none()
      : yield* prepareOnVolume(shared.value);
    return Option.isSome(onVolume) ? onVolume.value : yield* prepareIn(volume.own);
  });

  /** Builds a new venv with these requirements and activates it. */
  const buildIn = Effect.fn("Workspace.buildIn")(function* (
    place: Place,
    requirements: ReadonlyArray<string>,
    cache?: boolean,
  ) {
    yield* makeFolder(files, place);
    const prepared = yield* activate(place, yield* build(place, requirements, cache), true);
    return Option.isSome(prepared) ? prepared.value : yield* prepareIn(place);
  });

  return { prepare, prepareIn, buildIn };
});

export type Preparing = Effect.Success<ReturnType<typeof preparation>>;
