import { type Option, Schema } from "effect";

import type { AppResource } from "../../domain/DeployedApp.ts";

/** A number of jobs that run at the same time. */
export const Concurrency = Schema.Int.pipe(Schema.check(Schema.isGreaterThanOrEqualTo(1)));

/** An unpacked app and the resource of it that this worker serves. */
export interface App {
  /** The folder of the app, without links in its path: the current directory of its code. */
  readonly folder: string;
  /** The first entries of `sys.path`, in this order. */
  readonly path: ReadonlyArray<string>;
  readonly resource: AppResource;
  /** Jobs that run at the same time, 1 or more. */
  readonly maxConcurrency: number;
  /** The version of Python that the packages of the app were built for, such as `3.11`. */
  readonly pythonVersion: Option.Option<string>;
  /** Names of distributions that the client left out because images have them. */
  readonly excludedPackages: ReadonlyArray<string>;
  /** Debian packages from the manifest of SDK 2.0. */
  readonly systemDependencies: ReadonlyArray<string>;
}
