import { Duration } from "effect";

import * as Setting from "../settings/Setting.ts";

/** The timeout of an install of Python packages, and of one of system packages. */
export const INSTALL_TIMEOUT = Setting.seconds({
  name: "WORKER_INSTALL_TIMEOUT",
  doc: "Timeout for installing a job's packages, including the wait for other workers.",
  minimum: Duration.seconds(1),
  fallback: Duration.minutes(30),
});
