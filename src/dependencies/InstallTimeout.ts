import { Duration } from "effect";

import * as Setting from "../settings/Setting.ts";

/** The time limit for installing Python and for installing system packages. */
export const INSTALL_TIMEOUT = Setting.seconds({
  name: "WORKER_INSTALL_TIMEOUT",
  doc: "How long the packages of a job may take to be installed, waiting for other workers included.",
  minimum: Duration.seconds(1),
  fallback: Duration.minutes(30),
});
