import { Duration, Effect } from "effect";

import { APP } from "../../platform/files/JobFolders.ts";
import * as Setting from "../../settings/Setting.ts";

export const ARTIFACT_PATH = Setting.text({
  name: "FLASH_BUILD_ARTIFACT_PATH",
  doc: "Archive (tar.gz) of a deployed app. The machine may put it there after the worker has started.",
  expected: "a path",
  fallback: "/root/.runpod/artifact.tar.gz",
});

export const APP_DIR = Setting.text({
  name: "RUNPOD_APP_DIR",
  doc: "Folder that a deployed app is unpacked into. It must be on the container's disk.",
  expected: "a path",
  fallback: APP,
});

export const ARTIFACT_WAIT = Setting.seconds({
  name: "RUNPOD_ARTIFACT_WAIT",
  doc: "Maximum time to wait for the archive of a deployed app.",
  minimum: Duration.zero,
  fallback: Duration.minutes(5),
});

export const DISABLE_UNPACK = Setting.flag({
  name: "FLASH_DISABLE_UNPACK",
  doc: "Whether the app lies in RUNPOD_APP_DIR already, so that no archive is unpacked.",
});

export const PREBUILT_APP_DIR = Setting.optionalText({
  name: "RUNPOD_PREBUILT_APP_DIR",
  doc: "Folder of a deployed app that is part of the image. It is used instead of RUNPOD_APP_DIR, and no archive is unpacked.",
  expected: "a path",
  fallback: "none",
});

const MAX_UNPACKED_BYTES = Setting.integer({
  name: "WORKER_APP_MAX_BYTES",
  doc: "Maximum size of the unpacked archive of a deployed app, including the headers of its files.",
  unit: "bytes",
  minimum: 1,
  fallback: 16_000_000_000,
});

const MAX_MEMBERS = Setting.integer({
  name: "WORKER_APP_MAX_FILES",
  doc: "Maximum number of files, folders and links in the archive of a deployed app.",
  unit: "files",
  minimum: 1,
  fallback: 500_000,
});

export const unpackLimits = Effect.all({
  maxBytes: MAX_UNPACKED_BYTES.value,
  maxMembers: MAX_MEMBERS.value,
});
