import { containerDisk, disk } from "./checks/Disk.ts";
import { gpu } from "./checks/Gpu.ts";
import { lock } from "./checks/Lock.ts";
import { memory } from "./checks/Memory.ts";
import { node } from "./checks/Node.ts";
import { python } from "./checks/Python.ts";
import { temporaryFolder } from "./checks/TemporaryFolder.ts";
import { uv } from "./checks/Uv.ts";
import { venv } from "./checks/Venv.ts";
import { localWorkspace, volume } from "./checks/Volume.ts";

/**
 * The checks of a machine, in the order in which a worker needs the things they check. `doctor` runs all of them;
 * `start` runs the required ones, and refuses to run if one fails.
 */
export const MACHINE_CHECKS = [
  node,
  python,
  uv,
  volume,
  localWorkspace,
  lock,
  venv,
  disk,
  containerDisk,
  temporaryFolder,
  memory,
  gpu,
] as const;
