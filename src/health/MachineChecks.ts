import { containerDisk, disk } from "./checks/Disk.ts";
import { gpu } from "./checks/Gpu.ts";
import { lock } from "./checks/Lock.ts";
import { memory } from "./checks/Memory.ts";
import { node } from "./checks/Node.ts";
import { python } from "./checks/Python.ts";
import { temporaryFolder } from "./checks/TemporaryFolder.ts";
import { uv } from "./checks/Uv.ts";
import { venv } from "./checks/Venv.ts";
import { ownDisk, volume } from "./checks/Volume.ts";

/**
 * The checks of a machine, in the order in which a worker needs what they check: `doctor` shows them all, and `start`
 * refuses to run if a required one fails.
 */
export const MACHINE_CHECKS = [
  node,
  python,
  uv,
  volume,
  ownDisk,
  lock,
  venv,
  disk,
  containerDisk,
  temporaryFolder,
  memory,
  gpu,
] as const;
