import { LAYERS } from "../structure/Layers.ts";

const PURPOSE: Readonly<Record<(typeof LAYERS)[number], string>> = {
  cli: "The commands and their modes (queue, load balancer, local endpoint), request files, printed results, logs, signals and exit codes",
  functions:
    "The handler for requests from tetra-rp and Flash: from a decoded request to a response",
  apps: "Deployed apps of Flash and SDK 2.0: finding, unpacking and starting them, and their answers",
  health: "The checks of the machine before the first job, after failed jobs, and for `doctor`",
  runner: "The Python processes: start, calls, frames, output, end",
  dependencies: "Python packages (`pip/`) and Debian packages (`apt/`) that a job requires",
  workspace: "The folder that jobs run in, the network volume, caches and links",
  venv: "Virtual environments: building, publishing and deleting them; uv; packages of the image",
  endpoint: "The local endpoint of `serve` and the load balancer's routes. Works for any handler",
  queue:
    "The queue worker: take, heartbeat, stop, delivery, stream. Works for any handler and does not depend on Python",
  platform:
    "Programs, file locks, safe file access, disk faults, the process for the network volume",
  settings: "Environment variables, and the masking of secrets",
  domain: "Requests, responses, jobs and events as schemas",
};

/** The folders of `src`, from the top down. */
export const layerTable = (): string =>
  [
    "| folder | contents |",
    "|---|---|",
    ...LAYERS.map((layer) => `| \`${layer}/\` | ${PURPOSE[layer]} |`),
  ].join("\n");
