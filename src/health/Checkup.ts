import { Effect, Layer } from "effect";

import { DiskUsage } from "../platform/files/DiskUsage.ts";
import { FileLock } from "../platform/locks/FileLock.ts";
import { Programs } from "../platform/programs/Programs.ts";
import { Interpreters } from "../venv/Interpreters.ts";
import { Uv } from "../venv/Uv.ts";
import { Volume } from "../workspace/Volume.ts";
import type { Finding } from "./Check.ts";
import { MACHINE_CHECKS } from "./MachineChecks.ts";
import { CurrentPlace } from "./checks/Volume.ts";

/** Runs all checks for `doctor`, in order. */
export const checkup = Effect.gen(function* () {
  const findings: Array<Finding> = [];
  for (const { run, showsOk } of MACHINE_CHECKS) {
    const finding = yield* run;
    if (showsOk || finding.state !== "ok") findings.push(finding);
  }
  return { place: (yield* CurrentPlace).place, findings };
}).pipe(Effect.provide(CurrentPlace.layer), Effect.withSpan("doctor.checkup"));

/** The services that the checks use. */
export const checkupLayer = Layer.mergeAll(
  Interpreters.layer,
  Uv.layer,
  Programs.layer,
  Volume.layer,
  FileLock.layer,
  DiskUsage.layer,
);
