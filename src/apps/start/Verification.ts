import { Effect, Option } from "effect";

import { DependencyInstaller } from "../../dependencies/DependencyInstaller.ts";
import { installedPackages } from "../../venv/InstalledPackages.ts";
import { normalizeName } from "../../venv/image/ImagePackages.ts";
import type { PreparedWorkspace } from "../../workspace/PreparedWorkspace.ts";
import { startFailed, withoutStop } from "../AppStartFailed.ts";
import type { App } from "../manifest/App.ts";
import { wouldReplaceTorch } from "./ModulePackages.ts";

/** `3.12` of `3.12.1`. */
const minorOf = (version: string): string => version.split(".").slice(0, 2).join(".");

/** Fails if the packages of the app were built for another version of Python: compiled ones can't be imported. */
const checkPython = (
  { resource, pythonVersion }: App,
  { version }: Pick<PreparedWorkspace, "version">,
) => {
  const actual = minorOf(version);
  return Option.exists(pythonVersion, (wanted) => minorOf(wanted) !== actual)
    ? Effect.fail(
        startFailed(
          "verify",
          `The app of ${resource.name} was built for Python ${Option.getOrElse(pythonVersion, () => "")}, and this worker runs Python ${version}`,
          `Deploy it again with \`--python-version ${actual}\`, or use an image with Python ${Option.getOrElse(pythonVersion, () => "")}.`,
        ),
      )
    : Effect.void;
};

/** Installs the packages that the client left out of the app and the image does not have. */
const installExcluded = Effect.fnUntraced(function* (
  { resource, excludedPackages }: App,
  prepared: PreparedWorkspace,
) {
  if (excludedPackages.length === 0) return prepared;
  const installed = yield* installedPackages(prepared);
  const missing = excludedPackages.filter((name) => !installed.has(normalizeName(name)));
  if (missing.length === 0) return prepared;
  const names = missing.join(", ");
  const advice = `Use an image that has ${names}, or list ${missing.length === 1 ? "it" : "them"} in the dependencies of ${resource.name}.`;
  const reason = `${resource.name} was deployed without ${names}, which this image lacks`;
  if (missing.some((name) => wouldReplaceTorch(normalizeName(name), installed))) {
    return yield* startFailed(
      "verify",
      `${reason}, and installing it would replace the image's PyTorch`,
      advice,
    );
  }
  yield* Effect.logWarning(`${reason}; installing from the package index. ${advice}`);
  const { ensure } = yield* DependencyInstaller;
  return yield* Effect.mapError(
    ensure({ python: missing, system: [], accelerate: true }, prepared),
    ({ message }) => startFailed("verify", `${reason}. ${withoutStop(message)}`, advice),
  );
});

/** Compares an app with this machine. Returns the workspace with the packages that the app expects of the image. */
export const verifyApp = Effect.fn("AppStart.verify")(function* (
  app: App,
  prepared: PreparedWorkspace,
) {
  yield* checkPython(app, prepared);
  return yield* installExcluded(app, prepared);
});
