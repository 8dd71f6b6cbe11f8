import { Duration } from "effect";

import * as Setting from "../settings/Setting.ts";

/** The timeout of an install of Python packages, and of one of system packages. */
export const INSTALL_TIMEOUT = Setting.seconds({
  name: "WORKER_INSTALL_TIMEOUT",
  doc: "How long the packages of a job may take to be installed, waiting for other workers included.",
  minimum: Duration.seconds(1),
  fallback: Duration.minutes(30),
});
